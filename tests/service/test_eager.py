"""Eager connections, on real sockets."""

from __future__ import annotations

import socket
from errno import ECONNRESET, EWOULDBLOCK
from typing import Any

from twisted.internet import reactor, tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from happy.base.pace import QUEUE_SECONDS, TURN_SECONDS, Pace
from happy.base.untaken import unsent
from happy.service import eager
from happy.service.eager import (
    ACCEPT_SECONDS,
    MOST_ACCEPTS,
    EagerServer,
    bound_accepting,
    eager_kind,
    make_eager,
)
from happy.service.turns import Turns
from tests.socketio.peers import TurningClock


class Collector(Protocol):
    """A client that counts what arrives, and may stop reading."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.received = bytearray()
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if len(self.received) == self.expected:
            self.done.callback(bytes(self.received))


class Spy:
    """A socket that notes what is sent."""

    def __init__(self, socket: Any, sent: list[bytes]) -> None:
        self._socket = socket
        self._sent = sent

    def send(self, data: bytes) -> int:
        self._sent.append(data)
        count: int = self._socket.send(data)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Receiving:
    """A socket from which always the same comes."""

    def __init__(self, outcome: bytes | OSError) -> None:
        self._outcome = outcome

    def recv(self, size: int) -> bytes:
        if isinstance(self._outcome, OSError):
            raise self._outcome
        return self._outcome


class EagerTests(TestCase):
    def setUp(self) -> None:
        self.clock = TurningClock()
        self.pace = Pace(self.clock)
        self.turns = Turns(reactor)  # type: ignore[arg-type]

    async def connect(self, expected: int) -> tuple[Protocol, Collector]:
        """The server's and the client's end of a connection."""
        accepted: Deferred[Protocol] = Deferred()

        class Server(Protocol):
            def connectionMade(self) -> None:
                accepted.callback(self)

        port: Any = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")  # type: ignore[attr-defined]
        make_eager(port, eager_kind(EagerServer, self.turns, self.pace))
        self.addCleanup(port.stopListening)
        client = Collector(expected)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        await connectProtocol(endpoint, client)
        server = await accepted
        self.addCleanup(client.transport.loseConnection)  # type: ignore[union-attr]
        return server, client

    async def test_accepting_has_a_bound(self) -> None:
        """However many clients wait, a port accepts for a bounded time in a turn; all get their turn."""
        clock, built = Clock(), 0

        class Slow(Protocol):
            def connectionMade(self) -> None:
                nonlocal built
                built += 1
                clock.advance(ACCEPT_SECONDS / (2 * MOST_ACCEPTS))
                self.transport.loseConnection()  # type: ignore[union-attr]

        port: Any = reactor.listenTCP(0, Factory.forProtocol(Slow), 200, "127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        bound_accepting(port, clock.seconds)
        address = ("127.0.0.1", port.getHost().port)
        clients = [socket.create_connection(address) for _ in range(5 * MOST_ACCEPTS + 1)]
        for expected in (2 * MOST_ACCEPTS, 4 * MOST_ACCEPTS, 5 * MOST_ACCEPTS + 1):
            port.doRead()
            self.assertEqual(built, expected)
        for client in clients:
            client.close()

    async def test_private_names(self) -> None:
        """The names of Twisted's that the module reads or takes the place of still exist."""
        server, _ = await self.connect(0)
        self.assertTrue(callable(tcp.Server._isSendBufferFull))
        self.assertEqual(server.transport._tempDataLen, 0)  # type: ignore[union-attr]
        self.assertEqual(server.transport._tempDataBuffer, [])  # type: ignore[union-attr]
        self.assertIs(server.transport._writeDisconnected, False)  # type: ignore[union-attr]

    async def test_reading(self) -> None:
        """What comes is handed on, and every kind of nothing means what it means to Twisted."""
        server, _ = await self.connect(0)
        transport: Any = server.transport
        received: list[bytes] = []
        server.dataReceived = received.append  # type: ignore[method-assign]
        real = transport.socket
        for outcome in (b"some", b"", BlockingIOError(EWOULDBLOCK, ""), ConnectionResetError(ECONNRESET, "")):
            transport.socket = Receiving(outcome)
            self.assertIs(transport.doRead(), tcp.Connection.doRead(transport), repr(outcome))
        transport.socket = real
        self.assertEqual(received, [b"some", b"some"])

    async def test_sent_when_the_turn_ends(self) -> None:
        """What is written in a turn leaves in one piece at its end; nothing stays in the process."""
        server, client = await self.connect(8)
        transport: Any = server.transport
        self.assertIsInstance(transport, EagerServer)
        sent: list[bytes] = []
        transport.socket = Spy(transport.socket, sent)
        transport.write(b"ping")
        transport.writeSequence([b"po", b"ng"])
        self.assertEqual(sent, [])
        self.turns.end()
        self.assertEqual(sent, [b"pingpong"])
        self.assertEqual((transport.dataBuffer, transport._tempDataBuffer), (b"", []))
        self.assertEqual(await client.done, b"pingpong")

    async def test_much_is_sent_at_once(self) -> None:
        """From the size on at which Twisted pauses producers, nothing is held back."""
        server, client = await self.connect(100_000)
        transport: Any = server.transport
        sent: list[bytes] = []
        transport.socket = Spy(transport.socket, sent)
        transport.write(b"x" * 50_000)
        self.assertEqual(sent, [])
        transport.write(b"x" * 50_000)
        self.assertEqual(len(sent), 1)
        await client.done

    async def test_before_the_end(self) -> None:
        """What was written before a connection is closed, half-closed or cut still leaves."""
        for end in ("loseConnection", "loseWriteConnection", "abortConnection"):
            server, _ = await self.connect(1000)
            transport: Any = server.transport
            sent: list[bytes] = []
            transport.socket = Spy(transport.socket, sent)
            transport.write(b"bye")
            getattr(transport, end)()
            self.assertEqual(sent, [b"bye"], end)

    async def test_ends_take_turns(self) -> None:
        """Those with much unsent that are cut end as there is time; until then nothing is written to them."""
        self.patch(eager, "LARGE_END", 0)
        servers = [(await self.connect(0))[0] for _ in range(3)]
        transports: list[Any] = [server.transport for server in servers]
        ended: list[str] = []

        def end(reason: Failure | None = None) -> None:
            self.clock.rightNow += QUEUE_SECONDS
            ended.append("" if reason is None else reason.type.__name__)

        self.clock.rightNow += TURN_SECONDS
        for server, transport in zip(servers, transports, strict=True):
            server.connectionLost = end  # type: ignore[method-assign, assignment]
            transport.abortConnection()
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        for transport in transports:
            transport.socket = Spy(transport.socket, sent := [])
            transport.write(b"x" * 100_000)
            transport.loseConnection()
            self.assertEqual(sent, [])
        for count in range(1, 4):
            self.clock.advance(0)
            self.assertEqual(ended, ["ConnectionAborted"] * count)
        self.assertFalse(self.clock.getDelayedCalls())

    async def test_not_too_many_wait_for_their_end(self) -> None:
        """Those for which there is no file to spare end at once, and so do those with little unsent."""
        self.patch(eager, "LARGE_END", 0)
        self.patch(eager, "MOST_ENDING", 2)
        ended: list[object] = []
        self.clock.rightNow += TURN_SECONDS
        for large in (0, 0, 0, 1 << 20):
            self.patch(eager, "LARGE_END", large)
            server, _ = await self.connect(0)
            server.connectionLost = ended.append  # type: ignore[method-assign, assignment]
            server.transport.abortConnection()  # type: ignore[union-attr]
            await deferLater(reactor, 0)  # type: ignore[arg-type]
        self.assertEqual((len(ended), self.turns.ending), (2, 2))
        self.clock.advance(0)
        self.assertEqual((len(ended), self.turns.ending), (4, 0))

    async def test_ends_at_once(self) -> None:
        """One that is cut while there is time ends as Twisted's do; a later end of it is none."""
        server, _ = await self.connect(0)
        lost: list[type[BaseException] | None] = []
        server.connectionLost = lambda reason: lost.append(reason.type)  # type: ignore[method-assign, assignment]
        transport: Any = server.transport
        transport.abortConnection()
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        transport.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(lost, [ConnectionAborted])

    async def test_more_than_the_system_takes(self) -> None:
        """What does not fit is sent later, whole and in order."""
        parts = [bytes([number]) * 300_000 for number in range(20)]
        server, client = await self.connect(6_000_000)
        for part in parts:
            server.transport.write(part)  # type: ignore[union-attr]
        self.assertEqual(await client.done, b"".join(parts))

    async def test_full_as_soon_as_anything_waits(self) -> None:
        """A producer is paused when the system has not taken everything, and resumed when it has."""
        server, client = await self.connect(6_000_000)
        transport: Any = server.transport
        heard: list[str] = []
        resumed: Deferred[None] = Deferred()

        class Producer:
            def pauseProducing(self) -> None:
                heard.append(f"paused {unsent(transport) > 0}")

            def resumeProducing(self) -> None:
                heard.append(f"resumed {unsent(transport)}")
                resumed.callback(None)

            def stopProducing(self) -> None:
                """The connection is gone."""

        client.transport.pauseProducing()  # type: ignore[union-attr]
        transport.registerProducer(Producer(), True)
        transport.write(b"x")
        self.turns.end()
        self.assertEqual((heard, unsent(transport)), ([], 0))
        transport.write(b"x" * 5_999_999)
        self.assertEqual(heard, ["paused True"])
        client.transport.resumeProducing()  # type: ignore[union-attr]
        await client.done
        await resumed
        self.assertEqual(heard, ["paused True", "resumed 0"])

    async def test_writing_to_a_lost_connection(self) -> None:
        """A write to a connection that the peer has cut harms nobody."""
        server, client = await self.connect(1)
        lost: Deferred[None] = Deferred()
        server.connectionLost = lambda reason=None: lost.callback(None)  # type: ignore[method-assign, assignment]
        client.transport.abortConnection()  # type: ignore[union-attr]
        for _ in range(100):
            server.transport.write(b"x" * 10_000)  # type: ignore[union-attr]
        await lost
