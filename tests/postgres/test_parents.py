"""Servers that outlive, or leave behind, the process that started the embedded PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from happy.base.errors import StartupError
from happy.postgres import orphans, service
from happy.postgres.account import Account, account_for
from happy.postgres.binaries import choose, installations
from happy.postgres.cluster import server_arguments
from happy.postgres.orphans import process_gone
from happy.postgres.process import Program
from tests.postgres.case import AS_ROOT, PostgresCase, as_account, enterable, outcome, query, ready

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

    async def test_an_orphan_that_is_frozen(self) -> None:
        """One that hears no signal but the last is ended by that, and the next server takes over."""
        self.patch(service, "_ORPHAN_PATIENCE", 0.2)
        self.patch(orphans, "_QUIT_PATIENCE", 0.2)
        orphan = await self.run_by_hand()
        orphan.send_signal(signal.SIGSTOP)
        postgres = self.service()
        await postgres.start()
        self.assertEqual(orphan.wait(), -signal.SIGKILL)
        self.assertEqual(query(postgres.dsn, "SELECT 1"), [(1,)])

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
        await ready(self.service().dsn)
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


def test_giving_way() -> None:
    """A program that gives way comes after others, and no other one does."""
    command = [sys.executable, "-c", "import os; print(os.nice(0))"]
    for gives_way in (True, False):
        wrapped = Program(command, None, (), gives_way=gives_way).wrapped()
        said = subprocess.run(wrapped, capture_output=True, check=True, text=True).stdout
        assert int(said) == min(os.nice(0) + 10 * gives_way, 19)
