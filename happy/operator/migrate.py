"""``happyctl migrate``."""

from __future__ import annotations

from collections.abc import Sequence

import click
from psycopg2.extensions import quote_ident

from happy.backup import snapshot
from happy.backup.programs import ProgramFailed, ProgramsMissing
from happy.base.errors import StartupError
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.trouble import CommandFailed
from happy.storage.blocking import BlockingConnection, BlockingDatabase, finished
from happy.storage.connection import execute
from happy.storage.dsn import parse_target
from happy.storage.migrate import Migration, load_migrations, migrate_connection, survey


@click.command("migrate", cls=Tool, examples=["migrate --dry-run", "migrate --json"])
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_obj
def migrate(deployment: Deployment, dry_run: bool) -> Shown:
    """Bring the tables to what this version works with.

    A start of the server does the same. What there is, is saved first in the data folder, as
    backups/before-NNNN.tar: the way back is to restore that with the earlier version.
    """
    with deployment.database(migrated=False) as database:
        try:
            newest, missing, lost = finished(survey(session_of(database)))  # type: ignore[arg-type]
            saved = [] if dry_run else _apply(deployment, database)
        except StartupError as refused:
            raise CommandFailed(str(refused)) from None
    last = load_migrations()[-1].version
    names = [migration.name for migration in missing]
    document = {"from": newest, "to": last, "pending": names, "lost": list(lost)}
    if not missing and not lost:
        return Shown(document, [f"The database has all migrations up to {last}."])
    would = "would be " if dry_run else ""
    lines = [f"{name} was lost, {would}made again" for name in lost]
    return Shown(document, [*saved, *lines, *(f"{name} {would}applied" for name in names)])


def session_of(database: BlockingDatabase) -> BlockingConnection:
    """The connection, with the schema that the URL names."""
    schema = quote_ident(parse_target(database.dsn).schema, database.connection.pollable())
    finished(execute(database.connection, f"SET search_path = {schema}"))  # type: ignore[arg-type]
    return database.connection


def _apply(deployment: Deployment, database: BlockingDatabase) -> list[str]:
    """Migrate; what to say of the copy that was made first."""
    config = deployment.config
    said: list[str] = []

    async def save(newest: int, missing: Sequence[Migration]) -> None:
        folder, following = config.data_dir / "backups", missing[0].version
        try:
            path = snapshot.save(database.dsn, folder, newest, following, config.postgres_bin_dir)
        except ProgramsMissing as failed:
            said.append(f"The database was not saved first: {failed}.")
        except ProgramFailed as failed:
            raise CommandFailed(
                f"nothing was changed: the database cannot be saved first: {failed}"
            ) from None
        else:
            said.append(f"Saved the database in {path}")

    finished(migrate_connection(database.connection, save if config.migration_snapshot else None))  # type: ignore[arg-type]
    return said
