"""How a backup is made, and proven (:mod:`happy.backup.archive`)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import happy
from happy.backup.archive import DATABASE, FILES, SECRET, Archive, ArchiveWriter, BadBackup, Manifest, Mark
from happy.backup.database import Dumped, counted, dump, load
from happy.backup.places import flush, made_folder, new_file, workshop
from happy.backup.programs import ProgramFailed
from happy.base.errors import QueryFailed
from happy.base.private_folders import PRIVATE
from happy.keys.master_secret import kept
from happy.keys.tokens import Keys, fingerprint
from happy.operator.making import made
from happy.operator.trouble import CommandFailed
from happy.settings.declaration import BadSetting
from happy.storage import backups, secrets
from happy.storage.blocking import BlockingDatabase
from happy.storage.dsn import parse_target
from happy.storage.migrate import newest_applied
from happy.storage.secrets import KnownSecret

if TYPE_CHECKING:
    from happy.operator.deployment import Deployment
    from happy.operator.progress import Steps
    from happy.settings.config import Config

NAMED = re.compile(r"happy-\d{8}-\d{6}\.tar")
"""The files that are counted by ``--keep``."""
_WORKSHOP = ".happy-backup-"
_INCOMING = ".incoming"
_HASTE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
"""For a database that is thrown away."""


class Saved(NamedTuple):
    """A backup that was proven."""

    path: Path
    size: int
    manifest: Manifest


def save(deployment: Deployment, folder: Path, steps: Steps, *, with_secret: bool = True) -> Saved:
    """Make a backup in ``folder``, which is made if need be, and prove it. Nothing is left of one that fails.

    Raises CommandFailed and NotReachable.
    """
    try:
        with made_folder(folder, PRIVATE), workshop(folder, _WORKSHOP) as place:
            draft = place / "backup.tar"
            with deployment.database(migrated=False) as database:
                with os.fdopen(new_file(draft), "r+b") as file:
                    _write(deployment.config, database, file, steps, with_secret)
                manifest = _prove(deployment.config, draft, place / "proof", steps)
                size = draft.stat().st_size
                path = _give_name(draft, folder, manifest.created_at)
                _record(database, size)
            return Saved(path, size, manifest)
    except (ProgramFailed, BadBackup) as failed:
        raise CommandFailed(f"no backup was made: {failed}") from None
    except OSError as error:
        raise CommandFailed(f"no backup was made: {error.filename or folder}: {error.strerror}") from None


def _write(
    config: Config, database: BlockingDatabase, file: BinaryIO, steps: Steps, with_secret: bool
) -> None:
    created = int(time.time() * 1000)
    known = _known(database)
    secret = _secret(config, known) if with_secret else None
    used = next((one.public_key for one in known if one.in_use), None)
    writer = ArchiveWriter(file, Mark(1, happy.__version__, created), steps.told)
    steps.begin("Saving the database")
    dumped = dump(database, lambda content: writer.add(DATABASE, content), config.postgres_bin_dir)
    if "Account" not in dumped.tables:
        raise CommandFailed("no backup was made: the database is empty")
    objects = _add_files(config, writer, steps)
    if secret is not None:
        writer.add(SECRET, BytesIO(f"{secret}\n".encode()))
    writer.finish(_manifest(database, dumped, writer, created, used, objects))
    os.fsync(file.fileno())


def _manifest(
    database: BlockingDatabase,
    dumped: Dumped,
    writer: ArchiveWriter,
    created: int,
    used: bytes | None,
    objects: dict[str, int] | None,
) -> Manifest:
    migration = database.transact(newest_applied) if "happy_migrations" in dumped.tables else 1
    return Manifest(
        server=happy.__version__,
        created_at=created,
        postgres=dumped.postgres,
        programs=dumped.programs,
        schema=parse_target(database.dsn).schema,
        migration=migration,
        fingerprint=None if used is None else fingerprint(used),
        tables=dict(dumped.tables),
        members=dict(writer.members),
        objects=objects,
    )


def _known(database: BlockingDatabase) -> list[KnownSecret]:
    """The secrets of the data, where the database has a record of them."""
    return database.transact(secrets.known) if database.transact(secrets.recorded) else []


def _secret(config: Config, known: list[KnownSecret]) -> str:
    """The secret in use, or one that the next start takes over. Raises CommandFailed."""
    try:
        secret = kept(config)
    except BadSetting as wrong:
        raise CommandFailed(f"no backup was made: {wrong}") from None
    if secret is None:
        raise CommandFailed(
            f"no backup was made: the master secret is neither in {config.data_dir} nor in the environment "
            "variable HANDY_MASTER_SECRET; say --without-secret to save the rest"
        )
    fitting = {one.public_key for one in known if one.until is None}
    if fitting and Keys.derive(secret).public_key not in fitting:
        raise CommandFailed(
            "no backup was made: the master secret that is set here is not the one of the data; "
            "say --without-secret to save the rest"
        )
    return secret


def _add_files(config: Config, writer: ArchiveWriter, steps: Steps) -> dict[str, int] | None:
    """Add the files of the disk; of S3 only what there is, which is answered."""
    if config.s3_host:
        from happy.outbound.s3 import sizes

        return sizes(config)
    root = config.data_dir / "files"
    found = sorted(_files(root))
    steps.begin("Saving files", sum(size for _, size in found))
    for path, _ in found:
        try:
            content = path.open("rb")
        except FileNotFoundError:  # its session was deleted meanwhile
            continue
        with content:
            writer.add(f"{FILES}{path.relative_to(root)}", content)
    return None


def _files(root: Path) -> Iterator[tuple[Path, int]]:
    """Each file and its size, without uploads that are under way."""
    for folder, folders, names in os.walk(root):
        if Path(folder) == root and _INCOMING in folders:
            folders.remove(_INCOMING)
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path, path.stat().st_size


def _prove(config: Config, draft: Path, place: Path, steps: Steps) -> Manifest:
    """Restore the backup into a database of its own, and count what is there."""
    steps.begin("Reading it back", draft.stat().st_size)
    archive = Archive(draft, steps.told)
    steps.begin("Restoring it into a scratch database")
    place.mkdir()
    with (
        made(config, place, _HASTE, gives_way=True) as database,
        closing(archive.open(DATABASE)) as content,
    ):
        manifest = archive.manifest
        load(database, content, manifest.schema, manifest.programs, config.postgres_bin_dir)
        check(counted(database), manifest)
    return manifest


def check(found: dict[str, int], manifest: Manifest) -> None:
    """Compare what a restored database holds with what it must. Raises BadBackup."""
    for table, rows in manifest.tables.items():
        if found.get(table) != rows:
            raise BadBackup(f'the table "{table}" came back with {found.get(table, 0)} of {rows} rows')


def _give_name(draft: Path, folder: Path, created_at: int) -> Path:
    """Let it be seen, under a name that nobody has. A link, unlike a rename, replaces nothing."""
    second = created_at // 1000
    while True:
        path = folder / time.strftime("happy-%Y%m%d-%H%M%S.tar", time.gmtime(second))
        try:
            os.link(draft, path)
        except FileExistsError:
            second += 1
        else:
            flush(folder)
            return path


def _record(database: BlockingDatabase, size: int) -> None:
    """Note when it was; a database that an earlier version made has no place for that."""
    try:
        database.transact(lambda tx: backups.record(tx, size))
    except QueryFailed:
        return


def thin_out(folder: Path, keep: int) -> list[Path]:
    """Remove all backups in the folder but the latest ``keep``; which were removed."""
    found = sorted(path for path in folder.iterdir() if NAMED.fullmatch(path.name))
    gone = found[:-keep]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone
