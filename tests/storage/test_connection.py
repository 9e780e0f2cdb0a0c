"""What the reactor watches of sessions on PostgreSQL, whatever they do and however they end."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.task import deferLater

from happy.base.errors import ConnectionLost, QueryFailed
from happy.storage.connection import execute, usable
from happy.storage.dsn import parse_target
from happy.storage.pool import Connector
from tests.harness import DatabaseCase, psql
from tests.storage.working import start


class EndedSessionTests(DatabaseCase):
    """Sessions that have ended when they are to be used, which nobody has noticed."""

    async def test_the_reactor_forgets_the_socket(self) -> None:
        """A statement that cannot be sent fails, and the number of its socket is free for others."""
        from twisted.internet import reactor

        session = await Connector(parse_target(self.dsn), reactor).open()
        with socket.socket(fileno=os.dup(session.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        number = session.fileno()
        large = "x" * 1_000_000
        await self.assertFailure(start(execute(session, "SELECT length(%s)", (large,))), ConnectionLost)
        session.close()
        other = socket.socket().detach()
        if other != number:
            os.dup2(other, number)
            os.close(other)
        watched = FileDescriptor(reactor)
        watched.fileno = lambda: number  # type: ignore[method-assign]
        reactor.addReader(watched)
        self.assertIn(watched, reactor.getReaders())
        reactor.removeReader(watched)
        os.close(number)

    async def test_a_statement_that_was_never_sent(self) -> None:
        """A session goes on to notice its end after a statement that the driver refuses."""
        from twisted.internet import reactor

        session = await Connector(parse_target(self.dsn), reactor).open()
        await self.assertFailure(start(execute(session, "SELECT %s", ("\0",))), QueryFailed)
        self.assertIn(session, reactor.getReaders())
        session.close()


class WatchedSessionTests(DatabaseCase):
    """What the reactor watches of a session, whatever it does and however it ends."""

    async def setUp(self) -> None:
        await super().setUp()
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.session = await Connector(parse_target(self.dsn), reactor).open()
        self.addCleanup(self.session.close)

    def watched(self) -> tuple[bool, bool]:
        """Whether the reactor looks for something to read, and for room to write."""
        return self.session in self.reactor.getReaders(), self.session in self.reactor.getWriters()

    async def backend(self) -> int:
        """The process that serves the session."""
        (process,) = (await execute(self.session, "SELECT pg_backend_pid()")).fetchone()
        return int(process)

    async def test_all_the_time(self) -> None:
        """A session is watched while it is idle and while it waits for an answer, under the same number."""
        number = self.session.fileno()
        running = start(execute(self.session, "SELECT pg_sleep(0.001)"))
        self.assertEqual(self.watched(), (True, False))
        await running
        self.assertEqual((*self.watched(), self.session.fileno()), (True, False, number))

    async def test_more_than_fits(self) -> None:
        """While a statement waits to be sent, what comes is left alone; afterwards all is as before."""
        process = await self.backend()
        os.kill(process, signal.SIGSTOP)
        running = start(execute(self.session, "SELECT length(%s)", ("x" * 3_000_000,)))
        self.assertEqual(self.watched(), (False, True))
        os.kill(process, signal.SIGCONT)
        self.assertEqual((await running).fetchone(), (3_000_000,))
        self.assertEqual(self.watched(), (True, False))

    async def test_an_end_in_the_middle(self) -> None:
        """A statement fails when its session ends while it is being sent, and nothing is watched any more."""
        process, number = await self.backend(), self.session.fileno()
        os.kill(process, signal.SIGSTOP)
        running = start(execute(self.session, "SELECT length(%s)", ("x" * 3_000_000,)))
        with socket.socket(fileno=os.dup(number)) as same:
            same.shutdown(socket.SHUT_RDWR)
        await self.assertFailure(running, ConnectionLost)
        os.kill(process, signal.SIGCONT)
        self.assertEqual((*self.watched(), self.session.fileno()), (False, False, -1))
        self.assertRaises(OSError, os.fstat, number)

    async def test_an_end_while_idle(self) -> None:
        """The end of an idle session is noticed, and nothing of it stays open."""
        number = self.session.fileno()
        psql(self.dsn, "SELECT pg_terminate_backend(%s)", [await self.backend()])
        while self.session in self.reactor.getReaders():
            await deferLater(self.reactor, 0)
        self.assertFalse(usable(self.session))
        self.assertRaises(OSError, os.fstat, number)

    async def test_closed_under_way(self) -> None:
        """Who closes a session fails the statement that it runs."""
        running = start(execute(self.session, "SELECT pg_sleep(60)"))
        self.session.close()
        await self.assertFailure(running, ConnectionLost)
        self.session.close()

    async def test_no_number_left(self) -> None:
        """A session for which there is no descriptor is one that there is none of."""
        self.patch(os, "dup", no_descriptor)
        await self.assertFailure(
            start(Connector(parse_target(self.dsn), self.reactor).open()), ConnectionLost
        )


def no_descriptor(descriptor: int) -> int:
    """As ``os.dup`` where too many files are open."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
