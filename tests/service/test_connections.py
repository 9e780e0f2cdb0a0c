"""Connections that a server opens by itself, on real sockets."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor, tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from happy.base.pace import Pace
from happy.base.threads import SWITCH_SECONDS
from happy.metrics import Metrics
from happy.service.connections import Connections
from happy.service.eager import EagerClient, EagerServer
from happy.service.lifecycle import Lifecycle


class _Heard(Protocol):
    """The other end, which tells what arrived in the first piece."""

    factory: Any

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard.callback(data)


class ConnectionsTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        factory: Any = Factory.forProtocol(_Heard)
        factory.heard = self.heard = Deferred[bytes]()
        self.factory = factory
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)  # type: ignore[arg-type]

    async def connected(self, connections: Connections) -> Any:
        """The transport of a connection to the port, after it was hastened."""
        client: Any = await connectProtocol(self.endpoint, Protocol())
        self.addCleanup(client.transport.loseConnection)
        connections.hasten(client.transport)
        return client.transport

    async def test_hastened(self) -> None:
        """What is written in a turn goes out in one piece, and nothing waits in Twisted's buffer."""
        transport = await self.connected(Connections(reactor, Pace(reactor), shortcuts=True))
        self.assertIsInstance(transport, EagerClient)
        transport.write(b"PUB")
        transport.write(b"LISH")
        self.assertEqual(transport._tempDataBuffer, [])
        self.assertEqual(await self.heard, b"PUBLISH")

    async def test_without_shortcuts(self) -> None:
        """Where short cuts are not wanted, connections are Twisted's own."""
        connections = Connections(reactor, Pace(reactor), shortcuts=False)
        transport = await self.connected(connections)
        self.assertIs(type(transport), tcp.Client)
        self.assertIs(connections.accepted, tcp.Server)
        self.assertTrue(issubclass(Connections(reactor, Pace(reactor), shortcuts=True).accepted, EagerServer))

    async def test_watched(self) -> None:
        """As long as the reactor is watched, threads that compute let it have its turns."""
        former, lifecycle = sys.getswitchinterval(), Lifecycle(reactor)  # type: ignore[arg-type]
        Connections(reactor, Pace(reactor), shortcuts=False).watch(Metrics(), lifecycle)
        self.assertAlmostEqual(sys.getswitchinterval(), SWITCH_SECONDS)
        await lifecycle.stop()
        self.assertAlmostEqual(sys.getswitchinterval(), former)

    async def test_what_is_no_tcp(self) -> None:
        """A UNIX socket stays as it is, and works."""
        folder = tempfile.TemporaryDirectory(prefix="happy-")
        self.addCleanup(folder.cleanup)
        path = str(Path(folder.name) / "s")
        port: Any = reactor.listenUNIX(path, self.factory)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.endpoint = UNIXClientEndpoint(reactor, path)  # type: ignore[arg-type]
        transport = await self.connected(Connections(reactor, Pace(reactor), shortcuts=True))
        self.assertNotIsInstance(transport, EagerClient)
        transport.write(b"PUBLISH")
        self.assertEqual(await self.heard, b"PUBLISH")
