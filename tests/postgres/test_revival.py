"""PostgreSQL comes back, whatever goes wrong while it is started again."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from txpostgres.txpostgres import UnexpectedPollResult

from happy.base.errors import StartupError
from happy.postgres import EmbeddedPostgres, process, service
from happy.postgres.orphans import process_gone
from happy.storage.pool import Connector
from tests.postgres.case import AS_ROOT, PostgresCase, query, ready

TRIES = 3
KILLS = 3


def refuse() -> int:
    """As ``os.fork`` where there is no room for another process."""
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class RevivalCase(PostgresCase):
    """A server that runs, and what is said of it; ``tries`` counts the attempts to start it again."""

    async def begin(self, **options: Any) -> EmbeddedPostgres:
        """A running server; ``self.at_a_try`` is called at each attempt with its number."""
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._listen)
        self.addCleanup(globalLogPublisher.removeObserver, self._listen)
        self.tries = 0
        self.at_a_try: Callable[[int], None] = lambda number: None
        self.postgres = await self.started(on_restart=self._tried, **options)
        return self.postgres

    def _listen(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def _tried(self) -> None:
        self.tries += 1
        self.at_a_try(self.tries)

    def kill(self) -> None:
        """End the main process at once."""
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGKILL)

    async def comes_back(self) -> None:
        """Wait until it takes connections, and its service knows."""
        await ready(self.postgres.dsn)
        if (reviving := self.postgres._reviving) is not None:
            revived: Deferred[None] = Deferred()
            reviving.addBoth(lambda _: revived.callback(None))
            await revived
        self.assertEqual(query(self.postgres.dsn, "SELECT 1"), [(1,)])
        self.assertIsNotNone(self.postgres.pid)

    def said(self, beginning: str) -> list[str]:
        """The log lines that begin so."""
        return [line for line in self.lines if line.startswith(beginning)]


class FaultTests(RevivalCase):
    """What goes wrong at the first tries does not keep the next ones from coming."""

    def starve(self, limit: int, number: int) -> Callable[[], None]:
        """What puts a limit of this process down to a number; it stays so for the rest of the turn."""
        from twisted.internet import reactor

        soft, hard = resource.getrlimit(limit)

        def begin() -> None:
            resource.setrlimit(limit, (number, hard))
            reactor.callLater(0, resource.setrlimit, limit, (soft, hard))  # type: ignore[attr-defined]

        return begin

    def refuse_forks(self) -> None:
        """What root, whom no limit holds, meets when the machine is full."""
        self.patch(os, "fork", refuse)

    async def test_no_room_for_a_process(self) -> None:
        """A fork that the system refuses is tried again, and told once."""
        await self.begin()
        harm = self.refuse_forks if AS_ROOT else self.starve(resource.RLIMIT_NPROC, 1)
        real = os.fork

        def at_a_try(number: int) -> None:
            self.patch(os, "fork", real)
            if number <= TRIES:
                harm()

        self.at_a_try = at_a_try
        self.kill()
        await self.comes_back()
        self.assertGreater(self.tries, TRIES)
        expected = ["starting PostgreSQL again failed: Resource temporarily unavailable"]
        self.assertEqual(self.said("starting PostgreSQL again failed"), expected)
        self.assertEqual(self.said("starting PostgreSQL again works"), [WORKS.format(TRIES)])

    async def test_no_room_at_the_start(self) -> None:
        """A server that cannot even fork says so and does not start."""
        self.make_cluster()
        self.patch(os, "fork", refuse)
        failure = await self.assertFailure(self.service().start(), StartupError)
        self.assertEqual(str(failure), "cannot start PostgreSQL: Resource temporarily unavailable")

    async def test_no_room_for_a_file(self) -> None:
        """No descriptors are left for the pipes of the process."""
        await self.begin()

        def at_a_try(number: int) -> None:
            if number <= TRIES:
                lowest = os.dup(0)
                os.close(lowest)
                self.starve(resource.RLIMIT_NOFILE, lowest)()

        self.at_a_try = at_a_try
        self.kill()
        await self.comes_back()
        self.assertGreater(self.tries, TRIES)
        [line] = self.said("starting PostgreSQL again failed")
        self.assertEqual(line, "starting PostgreSQL again failed: Too many open files")

    async def test_a_try_that_breaks_off(self) -> None:
        """A server that an attempt started and then lost sight of is ended, and another one started."""
        await self.begin()
        lost: list[int | None] = []

        def break_off(reactor: Any, seconds: float) -> Any:
            self.patch(service, "deferLater", deferLater)
            lost.append(self.postgres.pid)
            raise RuntimeError

        self.patch(service, "deferLater", break_off)
        self.kill()
        await self.comes_back()
        self.assertEqual(len(lost), 1)
        self.assertNotIn(self.postgres.pid, [None, *lost])

    async def test_a_restart_that_is_not_counted(self) -> None:
        """Even the one who is told of a restart may fail."""
        await self.begin()

        def fail(number: int) -> None:
            if number <= TRIES:
                raise RuntimeError("a text that is not logged")

        self.at_a_try = fail
        self.kill()
        await self.comes_back()
        self.assertEqual(self.tries, TRIES + 1)
        [line] = self.said("starting PostgreSQL again failed")
        self.assertTrue(line.startswith("starting PostgreSQL again failed: RuntimeError <"), line)

    async def test_asking_goes_wrong(self) -> None:
        """Errors nobody foresaw, and silence, of the one who asks whether it answers mean: ask again."""
        await self.begin()
        self.patch(service, "_ANSWER_PATIENCE", 0.2)
        outcomes: list[Any] = [RuntimeError(), UnexpectedPollResult(), psycopg2.Error(), None, OSError()]
        asked: list[Any] = []

        class Disturbed(Connector):
            async def open(self) -> Any:
                if not outcomes:
                    return await super().open()
                asked.append(outcomes.pop(0))
                if asked[-1] is None:
                    await Deferred(lambda _: None)
                raise asked[-1]

        self.patch(service, "Connector", Disturbed)
        self.kill()
        await self.comes_back()
        self.assertEqual((len(asked), self.tries), (5, 1))
        [line] = self.said("asking PostgreSQL whether it takes connections failed")
        self.assertIn("RuntimeError", line)
        self.assertEqual(self.said("starting PostgreSQL again"), [])

    async def test_lines_that_cannot_be_taken(self) -> None:
        """A log that breaks costs lines, not the reader of PostgreSQL's output nor the notice of its end."""
        await self.begin()
        broken: list[str] = []

        def fail(self: Any, text: str) -> None:
            broken.append(text)
            raise ValueError("I/O operation on closed file")

        self.patch(service.LogSink, "open", lambda sink: None)
        self.patch(type(self.postgres._sink._file), "write", fail)
        self.kill()
        await self.comes_back()
        self.assertTrue(broken)
        self.assertEqual(self.tries, 1)

    async def test_killed_many_times(self) -> None:
        """It comes back every time."""
        await self.begin()
        for number in range(KILLS):
            pid = self.postgres.pid
            self.kill()
            await self.comes_back()
            self.assertNotEqual(self.postgres.pid, pid)
            self.assertGreater(self.tries, number)
        self.assertEqual(len(self.said("PostgreSQL ended unexpectedly")), KILLS)

    async def test_stopped_while_it_cannot_start(self) -> None:
        """A stop ends the attempts."""
        await self.begin()
        tried: Deferred[None] = Deferred()

        def fail(number: int) -> None:
            if number == TRIES:
                tried.callback(None)
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        self.at_a_try = fail
        self.kill()
        await tried
        await self.postgres.stop()
        self.assertEqual((self.tries, self.postgres.pid), (TRIES, None))
        self.assertEqual(len(self.said("starting PostgreSQL again failed")), 1)


WORKS = "starting PostgreSQL again works again, after {} failures"


class FrozenTests(RevivalCase):
    """Processes that live and do nothing, as a stopped one, or one whose disk does not answer."""

    def freeze(self, pid: int | None) -> int:
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self._thaw, pid)
        return pid

    def _thaw(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return

    async def test_a_session_that_outlives_the_server(self) -> None:
        """A frozen session holds the dead server's output and memory; it is killed, and the server back."""
        from twisted.internet import reactor

        await self.begin()
        session = psycopg2.connect(self.postgres.dsn)
        self.addCleanup(session.close)
        frozen = self.freeze(session.info.backend_pid)
        self.kill()
        await self.comes_back()
        await process_gone(frozen, reactor)
        self.assertEqual(self.said("killed 1 processes"), [LEFT])

    async def test_a_server_that_takes_no_connections(self) -> None:
        """It is told and counted, not killed, and told when it is over."""
        self.patch(service, "_CHECK_SECONDS", 0.1)
        self.patch(service, "_ANSWER_PATIENCE", 0.3)
        silences: list[None] = []
        silent: Deferred[None] = Deferred()

        def note() -> None:
            silences.append(None)
            if len(silences) == 2:
                silent.callback(None)

        await self.begin(on_silence=note)
        pid = self.freeze(self.postgres.pid)
        await silent
        self._thaw(pid)
        await self.until("connecting to PostgreSQL, which runs, works again")
        [line] = self.said("connecting to PostgreSQL, which runs, failed")
        self.assertIn("TimeoutError", line)
        self.assertEqual((self.postgres.pid, self.tries), (pid, 0))

    async def until(self, beginning: str) -> None:
        """Wait for a line in the log."""
        found: Deferred[None] = Deferred()

        def look(event: LogEvent) -> None:
            if formatEvent(event).startswith(beginning) and not found.called:
                found.callback(None)

        globalLogPublisher.addObserver(look)
        self.addCleanup(globalLogPublisher.removeObserver, look)
        await found

    async def test_a_stop_ends_in_time(self) -> None:
        """A frozen server is killed within the time that its stop has, its sessions with it."""
        from twisted.internet import reactor

        await self.begin()
        session = psycopg2.connect(self.postgres.dsn)
        self.addCleanup(session.close)
        frozen = [self.freeze(pid) for pid in (session.info.backend_pid, self.postgres.pid)]
        before = reactor.seconds()  # type: ignore[attr-defined]
        await self.postgres.stop(2.0)
        self.assertLess(reactor.seconds() - before, 5.0)  # type: ignore[attr-defined]
        for pid in frozen:
            await process_gone(pid, reactor)

    async def test_output_that_does_not_end(self) -> None:
        """The end of a process is noticed although what it started holds its output."""
        from twisted.internet import reactor

        script = "sleep 60 & echo $!"
        lines: list[str] = []
        program = process.Program(["/bin/sh", "-c", script], None, ())
        child = process.spawn(reactor, program, lines.append)
        self.assertIsNone(await child.ended)
        [line] = lines
        os.kill(int(line), signal.SIGKILL)
        await process_gone(int(line), reactor)


LEFT = "killed 1 processes that outlived PostgreSQL's main one"
