"""The embedded PostgreSQL, for real: made, killed, orphaned, moved, out of space."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol

from happy.errors import StartupError
from happy.postgres.account import Account, account_for
from happy.postgres.binaries import choose, installations
from happy.postgres.cluster import data_major, server_arguments
from happy.postgres.orphans import process_gone
from happy.postgres.process import Program
from happy.storage.database import Database, Transaction
from happy.storage.migrate import migrate
from tests.harness import RecordingPublisher, insert_account
from tests.postgres.case import AS_ROOT, PostgresCase, as_account, enterable, outcome, query

REPOSITORY = Path(__file__).parents[2]


class Parent(ProcessProtocol):
    """A server process of :mod:`tests.postgres.parent`."""

    def __init__(self, folder: Path, account: Account | None = None) -> None:
        from twisted.internet import reactor

        self.ready: Deferred[tuple[int, str]] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._said = b""
        command = [sys.executable, "-m", "tests.postgres.parent", str(folder)]
        arguments = Program(command, account, (Path(sys.executable), REPOSITORY)).wrapped()
        environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        reactor.spawnProcess(self, arguments[0], arguments, environment)  # type: ignore[attr-defined]

    def outReceived(self, data: bytes) -> None:
        self._said += data
        if self._said.endswith(b"\n"):
            pid, _, rest = self._said.decode().strip().partition(" ")
            self.ready.callback((int(pid), rest))

    def errReceived(self, data: bytes) -> None:
        sys.stderr.write(data.decode())

    def processEnded(self, reason: Any) -> None:
        self.gone.callback(None)

    def kill(self) -> Deferred[None]:
        """End it without giving it a chance."""
        self.transport.signalProcess("KILL")  # type: ignore[union-attr]
        return self.gone

    def end(self) -> Deferred[None] | None:
        """End it, if a test left it running."""
        return None if self.gone.called else self.kill()

    def let_go(self) -> Deferred[None]:
        """End it in order."""
        self.transport.closeStdin()  # type: ignore[union-attr]
        return self.gone


class ParentCase(PostgresCase):
    """Tests that start servers in processes of their own."""

    def parent(self, folder: Path, account: Account | None = None) -> Parent:
        """A process that ends with the test."""
        parent = Parent(folder, account)
        self.addCleanup(parent.end)
        return parent


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
        import psycopg2

        postgres = await self.started()
        session = psycopg2.connect(postgres.dsn)
        session.cursor().execute("SELECT 1")
        await postgres.stop()
        self.assertIsNone(postgres.pid)

    async def test_what_it_says_is_kept(self) -> None:
        """PostgreSQL's own words are in the log file beside the data, without statements or values."""
        postgres = await self.started()
        bad = outcome(Deferred.fromCoroutine(_refused(postgres.dsn)))
        await bad
        await postgres.stop()
        text = (self.home / "postgres.log").read_text()
        self.assertIn("database system is ready", text)
        self.assertIn("22P02 ERROR", text)
        self.assertNotIn("very secret", text)


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
        await _ready(postgres.dsn)

    async def test_a_first_start_that_fails(self) -> None:
        """A cluster that cannot be run is a readable refusal, in PostgreSQL's words."""
        self.make_cluster()
        (self.folder / "global" / "pg_control").unlink()
        failure = await self.assertFailure(self.service().start(), StartupError)
        self.assertIn("PostgreSQL did not start: ", str(failure))
        self.assertIn("pg_control", str(failure))
        self.assertNotIn("\n", str(failure))


async def _ready(dsn: str) -> None:
    """Wait until the server takes connections."""
    from twisted.internet import reactor

    database = Database(dsn, clock=reactor, publisher=RecordingPublisher(), patience=30)
    await database.ping()
    await database.stop()


class ParentTests(ParentCase):
    """Servers whose parent dies."""

    async def test_parent_killed(self) -> None:
        """SIGKILL of the parent ends PostgreSQL in order, and the next server takes over."""
        from twisted.internet import reactor

        self.make_cluster()
        parent = self.parent(self.folder)
        pid, dsn = await parent.ready
        query(dsn, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (7)")
        gone = process_gone(pid, reactor)
        await parent.kill()
        await gone
        self.assertFalse((self.folder / "postmaster.pid").exists())
        postgres = self.service()
        await postgres.start()
        self.assertEqual(query(postgres.dsn, "SELECT n FROM kept"), [(7,)])
        self.assertNotIn("recovery", (self.home / "postgres.log").read_text())

    async def test_next_server_starts_at_once(self) -> None:
        """A server that starts while its dead predecessor's PostgreSQL still runs waits for its end."""
        self.make_cluster()
        parent = self.parent(self.folder)
        await parent.ready
        await parent.kill()
        postgres = self.service()
        await postgres.start()
        self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])

    async def test_an_orphan_is_stopped_in_order(self) -> None:
        """Where nothing tells PostgreSQL of its parent's death, the next server ends it and takes over."""
        orphan = await self.run_by_hand()
        postgres = self.service()
        await postgres.start()
        self.assertEqual(orphan.wait(), 0)
        self.assertNotEqual(postgres.pid, orphan.pid)

    async def test_someone_else_s_server_is_left_alone(self) -> None:
        """A server on the folder that somebody started by hand is named in the refusal, and stays."""
        other = await self.run_by_hand(cluster_name="mine")
        failure = await self.assertFailure(self.service().start(), StartupError)
        self.assertIn(f"process {other.pid}", str(failure))
        self.assertIsNone(other.poll())
        other.send_signal(signal.SIGINT)
        other.wait()

    async def run_by_hand(self, **settings: str) -> subprocess.Popen[bytes]:
        """A PostgreSQL on the folder that no service of ours watches."""
        self.make_cluster()
        installation = choose(installations(), None)
        arguments = server_arguments(installation, self.folder, self.folder, settings=settings)
        program = Program(arguments, account_for(self.folder), (installation.folder, self.folder))
        process = subprocess.Popen(program.wrapped(), stderr=subprocess.DEVNULL, cwd="/")
        await _ready(self.service().dsn)
        return process

    async def test_files_of_a_dead_server(self) -> None:
        """Lock files with the number of a process that is something else now do not stop a start."""
        for make in (self.sleeper, self.zombie):
            pid = make()
            self.folder = self.make_home() / "postgres"
            self.make_cluster()
            lock = f"{pid}\n{self.folder}\n1\n5432\n{self.folder}\n\n  1  1\n"
            for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
                (self.folder / name).write_text(lock)
            postgres = self.service()
            await postgres.start()
            self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])

    def sleeper(self) -> int:
        """A process of PostgreSQL's account that does something else."""
        account = account_for(self.home / "nothing")
        process = subprocess.Popen(["sleep", "1000"], cwd="/", **as_account(account))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process.pid

    def zombie(self) -> int:
        """A process that has ended and that nobody has asked about."""
        process = subprocess.Popen(["true"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        return process.pid


class AccountTests(ParentCase):
    """Who PostgreSQL runs as."""

    async def test_never_root(self) -> None:
        """Started as root, PostgreSQL and its data belong to an account without rights of its own."""
        postgres = self.service()
        await postgres.start()
        owner = self.folder.stat().st_uid
        self.assertNotEqual(owner, 0)
        self.assertEqual(Path(f"/proc/{postgres.pid}").stat().st_uid, owner)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    async def test_as_an_ordinary_user(self) -> None:
        """An ordinary user runs it as oneself."""
        if not AS_ROOT:
            raise self.skipTest("the other tests are run by an ordinary user already")
        if not enterable(Account(65534, 65534)):
            raise self.skipTest("another account may not enter this installation")
        os.chown(self.home, 65534, 65534)
        parent = self.parent(self.folder, Account(65534, 65534))
        pid, dsn = await parent.ready
        self.assertEqual(query(dsn, "SELECT 1"), [(1,)])
        self.assertEqual(Path(f"/proc/{pid}").stat().st_uid, 65534)
        await parent.let_go()
        self.assertFalse(Path(f"/proc/{pid}").exists())

    async def test_made_as_root_then_started_by_a_user(self) -> None:
        """Data of another account is refused in words that say what to do."""
        if not AS_ROOT:
            raise self.skipTest("needs two accounts")
        if not enterable(Account(65534, 65534)):
            raise self.skipTest("another account may not enter this installation")
        self.make_cluster()
        os.chown(self.home, 65534, 65534)
        parent = self.parent(self.folder, Account(65534, 65534))
        pid, words = await parent.ready
        self.assertEqual(pid, 0)
        self.assertIn("belongs to user id", words)
        await parent.let_go()

    async def test_in_a_folder_that_is_closed_to_others(self) -> None:
        """Root's closed folders keep their permissions, and the data in them is usable all the same."""
        if not AS_ROOT:
            raise self.skipTest("an ordinary user can enter its own folders")
        closed = self.home / "closed"
        (closed / "data").mkdir(parents=True)
        closed.chmod(0o700)
        postgres = self.service(closed / "data" / "postgres")
        started = await outcome(postgres.start())
        self.assertEqual(closed.stat().st_mode & 0o777, 0o700)
        if isinstance(started, StartupError):  # where root may not have file system views of its own
            self.assertIn(f"may not enter {closed}", str(started))
            return
        self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])
        await postgres.stop()
        await postgres.start()


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
