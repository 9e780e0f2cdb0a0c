"""The embedded PostgreSQL, for real: made, killed, moved, out of space."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from happy.base.errors import StartupError
from happy.postgres.cluster import data_major
from happy.storage.database import Database
from happy.storage.migrate import migrate
from happy.storage.transaction import Transaction
from tests.harness import RecordingPublisher, insert_account
from tests.postgres.case import AS_ROOT, PostgresCase, outcome, query, ready


class LifeTests(PostgresCase):
    """Start, stop, start."""

    async def test_from_nothing(self) -> None:
        """An empty folder becomes a running server, whose data outlives a stop."""
        postgres = self.service(self.home / "deep" / "er" / "postgres")
        await postgres.start()
        query(postgres.dsn, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (7)")
        await postgres.stop()
        self.assertIsNone(postgres.pid)
        self.assertFalse((postgres.folder / "postmaster.pid").exists())
        await postgres.start()
        self.assertEqual(query(postgres.dsn, "SELECT n FROM kept"), [(7,)])

    async def test_how_a_new_cluster_is_made(self) -> None:
        """UTF-8, an order that no library update changes, page checksums, durable commits, no network."""
        postgres = self.service()
        await postgres.start()
        settings = "server_encoding", "data_checksums", "fsync", "synchronous_commit", "listen_addresses"
        shown = [query(postgres.dsn, f"SHOW {name}")[0][0] for name in settings]
        self.assertEqual(shown, ["UTF8", "on", "on", "on", ""])
        row = query(postgres.dsn, "SELECT 'a' < 'é', 'Z' < 'a', lower('ÀÉ')")
        self.assertEqual(row, [(True, True, "àé")])

    async def test_an_interrupted_beginning_is_begun_again(self) -> None:
        """What an interrupted initdb left is removed, and is never taken for a cluster."""
        left = self.home / "postgres.new"
        left.mkdir()
        (left / "PG_VERSION").write_text("18")
        postgres = self.service()
        await postgres.start()
        self.assertFalse(left.exists())
        self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])

    async def test_one_server_for_a_folder(self) -> None:
        """A second server on the same folder is refused in plain words, and the first goes on."""
        postgres = await self.started()
        failure = await self.assertFailure(self.service().start(), StartupError)
        self.assertIn("another server", str(failure))
        self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])

    async def test_stop_while_starting(self) -> None:
        """A stop before the server is ready ends it, and the start fails."""
        self.make_cluster()
        postgres = self.service()
        starting = outcome(postgres.start())
        await postgres.stop()
        self.assertIsInstance(await starting, StartupError)
        self.assertIsNone(postgres.pid)

    async def test_stop_with_sessions_open(self) -> None:
        """Sessions that are in the middle of something do not hold up a stop."""
        postgres = await self.started()
        session = psycopg2.connect(postgres.dsn)
        session.cursor().execute("SELECT 1")
        await postgres.stop()
        self.assertIsNone(postgres.pid)

    async def test_what_it_says_is_kept(self) -> None:
        """PostgreSQL's own words are in the log file beside the data, without statements or values."""
        postgres = await self.started()
        plain, _, options = postgres.dsn.partition("&")
        self.assertTrue(options)
        for dsn in (postgres.dsn, plain):
            await outcome(Deferred.fromCoroutine(_refused(dsn)))
        await self.kill_a_backend(postgres.dsn)
        await postgres.stop()
        text = (self.home / "postgres.log").read_text()
        self.assertIn("database system is ready", text)
        self.assertIn("was terminated by signal 9", text)
        self.assertEqual(text.count("22P02 ERROR"), 1, "of the session that is not ours")
        self.assertNotIn("very secret", text)

    async def kill_a_backend(self, dsn: str) -> None:
        """Kill a session in the middle of a statement, which the postmaster then reports."""
        working = deferToThread(query, dsn, "SELECT 'very secret', pg_sleep(60)")
        found: list[tuple[int]] = []
        while not found:
            found = query(dsn, "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        os.kill(found[0][0], signal.SIGKILL)
        self.assertIsInstance(await outcome(working), psycopg2.OperationalError)

    async def test_nothing_is_said_about_statements(self) -> None:
        """A configuration file that asks for statements in the log does not get them."""
        self.make_cluster()
        wanted = ("log_min_duration_statement = 0", "log_statement = 'all'", "log_duration = on")
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write("\n".join(wanted))
        postgres = self.service()
        await postgres.start()
        query(postgres.dsn.partition("&")[0], "SELECT 'very secret'")
        await postgres.stop()
        self.assertNotIn("very secret", (self.home / "postgres.log").read_text())


async def _refused(dsn: str) -> None:
    query(dsn, "SELECT 'very secret'::integer")


class CrashTests(PostgresCase):
    """Servers that die."""

    async def work_through(self, kill: Any) -> None:
        """Write from several sides while ``kill`` does its work; everything acknowledged is there once."""
        from twisted.internet import reactor

        restarts: list[None] = []
        postgres = await self.started(on_restart=lambda: restarts.append(None))
        database = Database(postgres.dsn, clock=reactor, publisher=RecordingPublisher(), size=4)
        await migrate(database)
        await database.start()
        acknowledged: list[str] = []

        async def writer() -> None:
            for _ in range(25):
                acknowledged.append(await database.transact(insert_account))
                if len(acknowledged) == 30:
                    kill(postgres)

        await gatherResults([Deferred.fromCoroutine(writer()) for _ in range(4)])
        stored = [row[0] for row in query(postgres.dsn, 'SELECT "id" FROM "Account"')]
        await database.stop()
        self.assertEqual(sorted(stored), sorted(acknowledged))
        self.assertEqual(len(stored), 100)
        self.restarts = len(restarts)

    async def test_killed_under_load(self) -> None:
        """SIGKILL of the server: it is started again, nothing acknowledged is lost, work goes on."""
        await self.work_through(lambda postgres: os.kill(postgres.pid, signal.SIGKILL))
        self.assertEqual(self.restarts, 1)

    async def test_a_session_killed_under_load(self) -> None:
        """SIGKILL of a session makes the server recover by itself, with the same outcome."""

        def kill(postgres: Any) -> None:
            sessions = query(
                postgres.dsn,
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'happy%'"
                " AND pid <> pg_backend_pid() LIMIT 1",
            )
            os.kill(sessions[0][0], signal.SIGKILL)

        await self.work_through(kill)
        self.assertEqual(self.restarts, 0)

    async def test_keeps_trying_to_come_back(self) -> None:
        """A server that cannot start again is tried until it can."""
        tried: Deferred[None] = Deferred()
        attempts: list[None] = []

        def restarting() -> None:
            attempts.append(None)
            if len(attempts) == 2:
                hidden.rename(control)
                tried.callback(None)

        postgres = await self.started(on_restart=restarting)
        control = self.folder / "global" / "pg_control"
        hidden = control.with_name("hidden")
        control.rename(hidden)
        os.kill(postgres.pid or 0, signal.SIGKILL)
        await tried
        await ready(postgres.dsn)

    async def test_a_first_start_that_fails(self) -> None:
        """A cluster that cannot be run is a readable refusal, in PostgreSQL's words."""
        self.make_cluster()
        (self.folder / "global" / "pg_control").unlink()
        failure = await self.assertFailure(self.service().start(), StartupError)
        self.assertIn("PostgreSQL did not start: ", str(failure))
        self.assertIn("pg_control", str(failure))
        self.assertNotIn("\n", str(failure))


class FolderTests(PostgresCase):
    """Folders that are not as one would like."""

    async def test_another_major_version(self) -> None:
        """Data of another version is run by programs of that version."""
        self.make_cluster(major=16)
        postgres = self.service()
        await postgres.start()
        self.assertEqual(query(postgres.dsn, "SHOW server_version_num")[0][0][:2], "16")
        self.assertEqual(data_major(self.folder), 16)

    async def test_a_version_that_is_not_there(self) -> None:
        """Data of a version without programs is refused, and not touched."""
        self.make_cluster()
        (self.folder / "PG_VERSION").write_text("9\n")
        failure = await self.assertFailure(self.service().start(), StartupError)
        self.assertIn("made by PostgreSQL 9", str(failure))

    async def test_a_path_too_long_for_a_socket(self) -> None:
        """The socket moves to a short private folder, which goes when the server does."""
        folder = self.home.joinpath(*["a-rather-long-name-for-a-folder"] * 4) / "postgres"
        folder.parent.mkdir(parents=True)
        self.make_cluster(folder)
        postgres = self.service(folder)
        await postgres.start()
        self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])
        sockets = Path(query(postgres.dsn, "SHOW unix_socket_directories")[0][0].strip('"'))
        self.assertEqual(sockets.stat().st_mode & 0o777, 0o700)
        await postgres.stop()
        self.assertFalse(sockets.exists())

    async def test_a_path_with_special_characters(self) -> None:
        """Spaces, quotes, commas and letters of other scripts in the path do no harm."""
        for name in ("with space", "ümläut", "com,ma", 'quo"te', "per%cent"):
            folder = self.home / name / "postgres"
            folder.parent.mkdir()
            self.make_cluster(folder)
            postgres = self.service(folder)
            await postgres.start()
            self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])
            await postgres.stop()

    async def test_a_full_disk(self) -> None:
        """A full disk refuses writes, loses nothing, and when there is room again work goes on."""
        from twisted.internet import reactor

        folder = self.mount_small()
        self.make_cluster(folder)
        postgres = self.service(folder)
        await postgres.start()
        database = Database(postgres.dsn, clock=reactor, publisher=RecordingPublisher(), size=2)
        await migrate(database)
        await database.start()
        first = await database.transact(insert_account)
        ballast = folder.parent / "ballast"
        fill(ballast)
        refused = await self.assertFailure(Deferred.fromCoroutine(database.transact(large)), Exception)
        self.assertEqual(getattr(refused, "sqlstate", None), "53100")
        self.assertEqual(await database.read(lambda tx: tx.rows('SELECT "id" FROM "Account"')), [(first,)])
        ballast.unlink()
        second = await database.transact(insert_account)
        found = await database.read(lambda tx: tx.rows('SELECT "id" FROM "Account" ORDER BY "id"'))
        self.assertEqual(found, [(first,), (second,)])
        await database.stop()

    async def test_a_disk_too_full_to_begin(self) -> None:
        """A disk without room for a cluster is a readable refusal, and leaves nothing half made."""
        folder = self.mount_small()
        fill(folder.parent / "ballast")
        failure = await self.assertFailure(self.service(folder).start(), StartupError)
        self.assertIn("No space left on device", str(failure))
        self.assertFalse(folder.exists())

    def mount_small(self) -> Path:
        """A data folder on a small file system of its own."""
        small = self.home / "small"
        small.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=130m,mode=0755", "tmpfs", str(small)]
        if not AS_ROOT or subprocess.run(command, capture_output=True).returncode:
            raise self.skipTest("needs the right to mount a file system")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(small)], check=True)
        return small / "postgres"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


async def large(tx: Transaction) -> None:
    """Write some megabytes."""
    await tx.run(
        'INSERT INTO "SimpleCache" ("key", "value", "createdAt", "updatedAt")'
        " SELECT n::text, repeat(md5(n::text), 100), now(), now() FROM generate_series(1, 20000) AS n"
    )
