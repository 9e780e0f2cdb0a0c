"""Eager connections, on real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from happy.realtime.eager import EagerServer, make_eager


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


class EagerTests(TestCase):
    async def connect(self, expected: int) -> tuple[Protocol, Collector]:
        """The server's and the client's end of a connection."""
        from twisted.internet import reactor

        accepted: Deferred[Protocol] = Deferred()

        class Server(Protocol):
            def connectionMade(self) -> None:
                accepted.callback(self)

        port: Any = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")  # type: ignore[attr-defined]
        make_eager(port)
        self.addCleanup(port.stopListening)
        client = Collector(expected)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        await connectProtocol(endpoint, client)
        server = await accepted
        self.addCleanup(client.transport.loseConnection)  # type: ignore[union-attr]
        return server, client

    async def test_private_names(self) -> None:
        """The names of Twisted's that the module reads still exist."""
        server, _ = await self.connect(0)
        self.assertEqual(server.transport._tempDataBuffer, [])  # type: ignore[union-attr]
        self.assertIs(server.transport._writeDisconnected, False)  # type: ignore[union-attr]

    async def test_sent_at_once(self) -> None:
        """A write leaves nothing behind in the process."""
        server, client = await self.connect(4)
        transport: Any = server.transport
        self.assertIsInstance(transport, EagerServer)
        transport.write(b"ping")
        self.assertEqual((transport.dataBuffer, transport._tempDataBuffer), (b"", []))
        self.assertEqual(await client.done, b"ping")

    async def test_more_than_the_system_takes(self) -> None:
        """What does not fit is sent later, whole and in order."""
        parts = [bytes([number]) * 300_000 for number in range(20)]
        server, client = await self.connect(6_000_000)
        for part in parts:
            server.transport.write(part)  # type: ignore[union-attr]
        self.assertEqual(await client.done, b"".join(parts))

    async def test_writing_to_a_lost_connection(self) -> None:
        """A write to a connection that the peer has cut harms nobody."""
        server, client = await self.connect(1)
        lost: Deferred[None] = Deferred()
        server.connectionLost = lambda reason=None: lost.callback(None)  # type: ignore[method-assign, assignment]
        client.transport.abortConnection()  # type: ignore[union-attr]
        for _ in range(100):
            server.transport.write(b"x" * 10_000)  # type: ignore[union-attr]
        await lost
