"""A real PostgreSQL for the live ring.

One cluster serves the whole run; it starts when it is first needed and is gone afterwards. Databases
are copies of a migrated template, made in some 50 ms::

    class ThingTests(DatabaseCase):
        async def test_something(self) -> None:
            account = await self.new_account()
            await self.database.transact(work, accounts=[account])
            assert self.publisher.seqs(account) == [1]

:class:`DatabaseCase` gives each test class a database of its own, and each test a started
:class:`~happy.storage.database.Database` on it, ``self.database``, whose publisher is
``self.publisher``. Tests of a class share the rows: make an account for each test, or set
``fresh = True`` to get a database for each test. ``self.dsn`` is the URL for anything else.

Outside test cases: ``with scratch_database() as dsn:`` (``migrated=False`` for an empty one), ``psql(dsn,
sql)`` to run SQL synchronously, ``pg_dump(dsn, *options)``, ``restore(dsn, sql_text)``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from happy.base.ids import new_cuid
from happy.postgres.account import Account
from happy.postgres.binaries import Installation, choose, installations
from happy.postgres.cluster import DATABASE, USER, initdb_arguments, server_arguments
from happy.postgres.process import Program
from happy.storage import blocking
from happy.storage.database import Database
from happy.storage.dsn import parse_target
from happy.storage.migrate import migrate_connection
from happy.storage.transaction import Transaction
from happy.storage.types import Millis

_NOBODY = 65534
_SPEED = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "max_connections": "60"}
_TEMPLATE = "happy_template"

NEW_ACCOUNT = """
INSERT INTO "Account" ("id", "publicKey", "createdAt", "updatedAt") VALUES (%s, %s, %s, %s)
"""


class Cluster:
    """A PostgreSQL server for tests: fast rather than safe, in a folder that goes with it."""

    def __init__(self, installation: Installation, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are further ones of the server."""
        self._settings = {**_SPEED, **(settings or {})}
        self.installation = installation
        self.folder = Path(tempfile.mkdtemp(prefix="happy-tests-"))
        self._names = count(1)
        if os.getuid() == 0:
            os.chown(self.folder, _NOBODY, _NOBODY)
        self._data = self.folder / "data"
        self._log = (self.folder / "log").open("wb")
        initdb = self._program([*initdb_arguments(installation, self._data), "--no-sync"])
        subprocess.run(initdb, check=True, capture_output=True)
        self._process = self._start()
        self._await_ready()
        self.migrated = False

    def _start(self) -> subprocess.Popen[bytes]:
        command = server_arguments(self.installation, self._data, self.folder, settings=self._settings)
        return subprocess.Popen(self._program(command), stderr=self._log, cwd="/")

    def _program(self, command: Sequence[str]) -> list[str]:
        """As the service runs it: not as root, out of Ctrl-C's reach, and gone with a run that is killed."""
        account = Account(_NOBODY, _NOBODY) if os.getuid() == 0 else None
        return Program(command, account, (self.installation.folder, self.folder)).wrapped()

    def _await_ready(self) -> None:
        """Connect until it works: the server announces nothing that could be waited for."""
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            try:
                psycopg2.connect(self.dsn(DATABASE)).close()
            except psycopg2.OperationalError:
                continue
            return

    def dsn(self, database: str) -> str:
        """The URL of one of the cluster's databases."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create(self, *, migrated: bool = True) -> str:
        """A new database, as a migrated one or empty; answers its URL."""
        if migrated and not self.migrated:
            self._make_template()
        name = f"t{next(self._names)}"
        template = _TEMPLATE if migrated else "template0"
        psql(self.dsn(DATABASE), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.dsn(name)

    def drop(self, dsn: str) -> None:
        """Remove a database, with whoever is connected to it."""
        name = parse_target(dsn).parameters["dbname"]
        psql(self.dsn(DATABASE), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _make_template(self) -> None:
        psql(self.dsn(DATABASE), f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0 STRATEGY file_copy")
        run_migrations(self.dsn(_TEMPLATE))
        self.migrated = True

    @property
    def pid(self) -> int:
        """The server's process; the others are its children."""
        return self._process.pid

    def restart(self, number: signal.Signals) -> None:
        """End the server by a signal, and start it again: SIGINT is an order, SIGQUIT as good as a crash."""
        self._process.send_signal(number)
        self._process.wait()
        self._process = self._start()
        self._await_ready()

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._log.close()
        shutil.rmtree(self.folder)


_clusters: list[Cluster] = []


def cluster() -> Cluster:
    """The run's cluster, started now if it is not running yet."""
    if not _clusters:
        _clusters.append(Cluster(choose(installations(), None)))
    return _clusters[0]


def stop_cluster() -> None:
    """End the run's cluster, if there is one."""
    while _clusters:
        _clusters.pop().stop()


@contextmanager
def scratch_database(*, migrated: bool = True) -> Iterator[str]:
    """The URL of a database that is removed afterwards."""
    dsn = cluster().create(migrated=migrated)
    try:
        yield dsn
    finally:
        cluster().drop(dsn)


def psql(dsn: str, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run SQL in autocommit mode; answers the last statement's rows, as psycopg2 gives them by default."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql, params or None)
        found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return found
    finally:
        connection.close()


def pg_dump(dsn: str, *options: str) -> str:
    """What the wheel's pg_dump writes for a database."""
    program = cluster().installation.program("pg_dump")
    return subprocess.run([program, dsn, *options], check=True, capture_output=True, text=True).stdout


def restore(dsn: str, sql: str) -> None:
    """Feed a plain dump to psql, stopping at the first error."""
    program = cluster().installation.program("psql")
    arguments = [program, dsn, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    subprocess.run(arguments, check=True, capture_output=True, text=True, input=sql)


def run_migrations(dsn: str) -> None:
    """Migrate a database, synchronously. Raises what ``migrate_connection`` raises."""
    connection = blocking.connect(dsn, "tests")
    try:
        blocking.finished(migrate_connection(connection))  # type: ignore[arg-type]
    finally:
        connection.close()


class RecordingPublisher:
    """Keeps what transactions publish, in order: ``updates`` and ``signals`` as (audience, body)."""

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.signals: list[tuple[Any, Any]] = []

    def deliver(self, update: Any) -> None:
        self.updates.append(update)

    def signal(self, audience: Any, body: Any) -> None:
        self.signals.append((audience, body))

    def told(self, account: str) -> None:
        """Everything was told at once."""

    def after(self, account: str, act: Callable[..., object], *arguments: object) -> None:
        act(*arguments)

    def current(self, account: str) -> None:
        """Nobody else commits anything."""

    def seqs(self, account: str) -> list[int]:
        """The numbers of an account's updates, in the order they were published."""
        return [update.seq for update in self.updates if update.audience.account == account]


class DatabaseCase(TestCase):
    """Tests on a real database: ``dsn``, ``database`` (started) and ``publisher``."""

    fresh = False
    """A database for each test, instead of one for the class."""
    size = 6
    """Connections in the pool."""

    _shared_dsn: str | None = None
    dsn: str

    async def setUp(self) -> None:
        self.dsn = self._database_url()
        self.publisher = self.make_publisher()
        self.database = self.make_database()
        await self.database.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.stop()))

    def make_publisher(self) -> Any:
        """What hears of commits; a test class may put a real one here."""
        return RecordingPublisher()

    def make_database(self, **options: Any) -> Database:
        """A Database on this test's rows; the caller starts and stops it."""
        from twisted.internet import reactor

        arguments: dict[str, Any] = {
            "size": self.size,
            "clock": reactor,
            "publisher": self.publisher,
            **options,
        }
        return Database(arguments.pop("dsn", self.dsn), **arguments)

    async def new_account(self) -> str:
        """The id of a new account."""
        return await self.database.transact(insert_account)

    @classmethod
    def tearDownClass(cls) -> None:
        if cls._shared_dsn is not None:
            cluster().drop(cls._shared_dsn)
            cls._shared_dsn = None

    def _database_url(self) -> str:
        if self.fresh:
            dsn = cluster().create()
            self.addCleanup(cluster().drop, dsn)
            return dsn
        if self._shared_dsn is None:
            type(self)._shared_dsn = cluster().create()
        assert self._shared_dsn is not None
        return self._shared_dsn


async def insert_account(tx: Transaction, account: str | None = None) -> str:
    """Add an account whose public key is made up; answers its id."""
    account, now = account or new_cuid(), Millis(tx.now)
    await tx.run(NEW_ACCOUNT, (account, f"KEY-{account}", now, now))
    return account
