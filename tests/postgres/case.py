"""Embedded servers in folders of their own, and SQL on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from happy.postgres import EmbeddedPostgres
from happy.postgres.account import Account, account_for, closed_folders, give, helper
from happy.postgres.binaries import choose, installations
from happy.postgres.cluster import initdb_arguments
from happy.postgres.process import Program
from happy.storage.database import Database
from tests.harness import RecordingPublisher

AS_ROOT = os.getuid() == 0

_templates: dict[int | None, Path] = {}


def enterable(account: Account) -> bool:
    """Whether the account can run this interpreter with what is installed for it."""
    return closed_folders(Path(psycopg2.__file__), account) is None


def as_account(account: Account | None) -> dict[str, Any]:
    """Arguments of subprocess functions to run as the account."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _template(major: int | None, home: Path) -> Path:
    """A new cluster of a major version, or of the preferred one, made without its safety."""
    folder = home / "data"
    folder.mkdir()
    runner = helper() if AS_ROOT else None
    if runner is not None:
        os.chown(folder, runner.uid, runner.gid)
    installation = choose(installations(), major)
    arguments = [*initdb_arguments(installation, folder), "--no-sync"]
    program = Program(arguments, runner, (installation.folder, folder))
    subprocess.run(program.wrapped(), check=True, capture_output=True)
    return folder


class PostgresCase(TestCase):
    """Services in a folder that goes with the test."""

    def setUp(self) -> None:
        self.home = self.make_home()
        self.folder = self.home / "postgres"

    def make_home(self, **options: Any) -> Path:
        """A folder that everybody may enter."""
        home = Path(tempfile.mkdtemp(prefix="happy-pg-", **options))
        home.chmod(0o755)
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        return home

    def service(self, folder: Path | None = None, **options: Any) -> EmbeddedPostgres:
        """A service that is stopped after the test."""
        from twisted.internet import reactor

        postgres = EmbeddedPostgres(folder or self.folder, reactor=reactor, **options)
        self.addCleanup(postgres.stop)
        return postgres

    def make_cluster(self, folder: Path | None = None, major: int | None = None) -> None:
        """Put a cluster in place without waiting for initdb each time."""
        if major not in _templates:
            # Kept for the tests of this run; removed with the temporary folder of the interpreter.
            holder = tempfile.TemporaryDirectory(prefix="happy-pg-template-")
            os.chmod(holder.name, 0o755)
            _templates[major] = _template(major, Path(holder.name))
            _holders.append(holder)
        target = folder or self.folder
        shutil.copytree(_templates[major], target, symlinks=True)
        account = account_for(target.parent / "nothing")
        if account is not None:
            give(target, account)

    async def started(self, **options: Any) -> EmbeddedPostgres:
        """A running service on a cluster that was made before."""
        self.make_cluster()
        postgres = self.service(**options)
        await postgres.start()
        return postgres


_holders: list[tempfile.TemporaryDirectory[str]] = []


def query(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    """Run SQL in autocommit mode and answer the rows of the last statement."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def outcome(deferred: Deferred[Any]) -> Deferred[Any]:
    """Fires with the result or the exception."""
    return deferred.addErrback(lambda failure: failure.value)


async def ready(dsn: str) -> None:
    """Wait until the server takes connections."""
    from twisted.internet import reactor

    database = Database(dsn, clock=reactor, publisher=RecordingPublisher(), patience=30)
    await database.ping()
    await database.stop()
