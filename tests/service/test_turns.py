"""Turns: what is written in one leaves together, and how the reactor is polled."""

from __future__ import annotations

import time
from select import EPOLLIN
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor as real_reactor
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from happy.base.pace import TURN_SECONDS, Pace
from happy.service import turns
from happy.service.eager import EagerServer, eager_kind, make_eager
from happy.service.ready_events import FEW, MOST_READY
from happy.service.turns import MOST_SECONDS, MOST_WAITING, Turns, poll_directly


class Held:
    """Counts how often it is flushed."""

    def __init__(self) -> None:
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)

    def test_timer(self) -> None:
        """Without a reactor that ends turns, a timer does, once for all that wait."""
        first, second = Held(), Held()
        self.turns.add(first)
        self.turns.add(second)
        self.assertEqual((first.flushed, len(self.clock.getDelayedCalls())), (0, 1))
        self.clock.advance(0)
        self.assertEqual((first.flushed, second.flushed), (1, 1))
        self.turns.add(first)
        self.clock.advance(0)
        self.assertEqual((first.flushed, second.flushed), (2, 1))

    def test_no_timer(self) -> None:
        """Where the reactor ends turns, there is no timer."""
        self.turns.ended_by_reactor = True
        held = Held()
        self.turns.add(held)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.turns.end()
        self.assertEqual(held.flushed, 1)

    def test_failure(self) -> None:
        """What fails to write is logged, and does not keep the others from it."""

        class Broken:
            def flush(self) -> None:
                raise TypeError

        held = Held()
        self.turns.add(Broken())
        self.turns.add(held)
        self.clock.advance(0)
        self.assertEqual(held.flushed, 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_many(self) -> None:
        """A turn that writes to many does not keep the first of them waiting."""
        waiting = [Held() for _ in range(MOST_WAITING)]
        for held in waiting:
            self.turns.add(held)
        self.assertEqual([held.flushed for held in waiting], [1] * MOST_WAITING)


class Client(Protocol):
    """Tells when it has lost its connection."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


class LengthTests(SynchronousTestCase):
    """How much one turn takes on."""

    def test_in_turn(self) -> None:
        """A turn ends after a while, and those whom it did not come to are the next one's first."""
        clock, read = Clock(), ""

        class Busy:
            def __init__(self, name: str) -> None:
                self.name = name

            def doRead(self) -> None:
                nonlocal read
                read += self.name
                clock.advance(MOST_SECONDS * 0.75)

        self.patch(turns, "monotonic", clock.seconds)
        ready = {number: Busy(name) for number, name in enumerate("abcde")}
        reactor = SimpleNamespace(_selectables=ready, _doReadOrWrite=None, _poller=SimpleNamespace())
        reactor._poller.poll = lambda *_: [(number, EPOLLIN) for number in ready]
        poll = turns._direct_poll(reactor, Turns(clock), [Busy], Pace(clock), lambda seconds: None)
        for _ in range(4):
            poll(None)
        self.assertEqual(read, "ab" + "cd" + "ea" + "bc")

    def test_told_when_it_is_late(self) -> None:
        """Who is read from while the turn is young need not look at the clock; who comes later has to."""
        clock, seen = Clock(), list[tuple[bool, bool]]()

        class Busy:
            def doRead(self) -> None:
                seen.append((pace.late, pace.over()))
                clock.advance(TURN_SECONDS * 0.75)

        self.patch(turns, "monotonic", clock.seconds)
        pace, ready = Pace(clock), {number: Busy() for number in range(3)}
        reactor = SimpleNamespace(_selectables=ready, _doReadOrWrite=None, _poller=SimpleNamespace())
        reactor._poller.poll = lambda *_: [(number, EPOLLIN) for number in ready]
        poll = turns._direct_poll(reactor, Turns(clock), [Busy], pace, lambda seconds: None)
        poll(None)
        self.assertEqual(seen, [(False, False), (False, False), (True, True)])
        poll(None)
        self.assertEqual(seen[3], (False, False), "a new turn is young")

    def test_many_are_ready(self) -> None:
        """Where a turn may be full, all who are ready are asked for, so that their owners can be ranked."""
        asked: list[tuple[float, int]] = []
        clock, read = Clock(), list[int]()

        class Ready:
            def __init__(self, number: int, owner: str) -> None:
                self.number, self.client = number, (owner, 0)

            def doRead(self) -> None:
                read.append(self.number)

        def answer(timeout: float, most: int) -> list[tuple[int, int]]:
            asked.append((timeout, most))
            return [(number, EPOLLIN) for number in ready][:most]

        ready = {
            number: Ready(number, "one" if number < 2 * FEW else "other") for number in range(2 * FEW + 1)
        }
        reactor = SimpleNamespace(_selectables=ready, _doReadOrWrite=None, _poller=SimpleNamespace())
        reactor._poller.poll = answer
        poll = turns._direct_poll(reactor, Turns(clock), [Ready], Pace(clock), lambda seconds: None)
        poll(3)
        self.assertEqual(asked, [(3, FEW), (0, MOST_READY)])
        self.assertEqual(len(read), FEW)
        self.assertIn(2 * FEW, read[:2], "the other owner's only one")


class PollTests(TestCase):
    """Direct polling, on the reactor that runs the tests where that is Twisted's epoll reactor."""

    def setUp(self) -> None:
        self.turns = Turns(real_reactor)  # type: ignore[arg-type]
        self.pace = Pace(real_reactor)  # type: ignore[arg-type]
        self.kind = eager_kind(EagerServer, self.turns, self.pace)
        self.polled = type(real_reactor) is EPollReactor
        self.took: list[float] = []
        self.addCleanup(poll_directly(real_reactor, self.turns, [self.kind], self.pace, self.took.append))
        self.assertEqual(self.turns.ended_by_reactor, self.polled)

    async def connect(self, server: type[Protocol], client: Protocol) -> None:
        reactor: Any = real_reactor
        port = reactor.listenTCP(0, Factory.forProtocol(server), interface="127.0.0.1")
        make_eager(port, self.kind)
        self.addCleanup(port.stopListening)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), client)

    async def test_answer(self) -> None:
        """What a connection is told arrives, and its answers leave."""
        answered: Deferred[bytes] = Deferred()

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data[:2])  # type: ignore[union-attr]
                self.transport.write(data[2:])  # type: ignore[union-attr]

        class Client(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"ping")  # type: ignore[union-attr]

            def dataReceived(self, data: bytes) -> None:
                answered.callback(data)

        client = Client()
        await self.connect(Echo, client)
        self.assertEqual(await answered, b"ping", "in one piece")
        client.transport.loseConnection()  # type: ignore[union-attr]

    async def test_end(self) -> None:
        """A connection that its client closes is lost in due form."""
        lost: Deferred[Any] = Deferred()

        class Server(Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                lost.callback(reason.type.__name__)

        client = Protocol()
        await self.connect(Server, client)
        client.transport.loseConnection()  # type: ignore[union-attr]
        self.assertEqual(await lost, "ConnectionDone")

    async def test_failure(self) -> None:
        """What a protocol raises is logged, and ends its connection only."""
        lost: Deferred[Any] = Deferred()

        class Server(Protocol):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

            def connectionLost(self, reason: Any = None) -> None:
                lost.callback(reason.type.__name__)

        client = Protocol()
        await self.connect(Server, client)
        client.transport.write(b"x")  # type: ignore[union-attr]
        self.assertEqual(await lost, "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_long_turns(self) -> None:
        """A turn that takes long is told of with its length, whichever part of it took so long."""
        if not self.polled:
            raise SkipTest("this reactor's turns cannot be timed")

        class Slow(Protocol):
            def dataReceived(self, data: bytes) -> None:
                time.sleep(0.05)
                self.transport.loseConnection()  # type: ignore[union-attr]

        client = Client()
        await self.connect(Slow, client)
        client.transport.write(b"x")  # type: ignore[union-attr]
        await client.lost
        await deferLater(real_reactor, 0, time.sleep, 0.05)
        await deferLater(real_reactor, 0, lambda: None)
        self.assertGreaterEqual(len([seconds for seconds in self.took if seconds >= 0.05]), 2)

    def test_only_once(self) -> None:
        """A reactor that is polled directly already stays as it is, for other turns."""
        other = Turns(real_reactor)  # type: ignore[arg-type]
        poll_directly(real_reactor, other, [tcp.Server], self.pace)()
        self.assertFalse(other.ended_by_reactor)
        self.assertEqual("doIteration" in vars(real_reactor), self.polled)

    def test_other_reactors(self) -> None:
        """A reactor of another kind stays as it is."""
        clock = Clock()
        poll_directly(clock, self.turns, [self.kind], self.pace)()
        self.assertNotIn("doIteration", vars(clock))
