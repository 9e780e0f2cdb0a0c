"""The client's sockets against the real realtime endpoint, over connections in memory."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site
from zope.interface import implementer

from happy.client import Disconnected, RemoteServer, Scope, Socket, SocketRefused, open_socket
from happy.socketio.endpoint import SocketIOEndpoint
from happy.socketio.shared import EndpointSettings
from happy.socketio.socket import Acknowledge, ConnectRefused
from happy.socketio.socket import Socket as ServerSocket
from happy.socketio.standalone import EndpointSite


class Desk:
    """A program that refuses some, echoes events, and can be told to speak."""

    namespaces = ("/",)

    def __init__(self) -> None:
        self.sockets: list[ServerSocket] = []
        self.presented: list[Any] = []
        self.reasons: list[str] = []

    def connect(self, socket: ServerSocket, auth: Raw | None) -> None:
        self.presented.append(auth and bytes(auth))
        if auth is None or b'"wrong"' in bytes(auth):
            raise ConnectRefused("Invalid authentication token")

    def joined(self, socket: ServerSocket) -> None:
        self.sockets.append(socket)
        socket.emit("update", {"body": {"t": "welcome"}})

    def event(
        self, socket: ServerSocket, name: str, arguments: Sequence[Raw], ack: Acknowledge | None
    ) -> None:
        if ack is None:
            socket.emit("ephemeral", {"type": name})
        else:
            ack(*arguments)

    def disconnected(self, socket: ServerSocket, reason: str) -> None:
        self.reasons.append(reason)


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Connects clients to a server in the same process; ``pumps`` move the bytes."""

    def __init__(self, factory: Any, clock: Clock) -> None:
        self._factory = factory
        self._clock = clock
        self.pumps: list[IOPump] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        client: Any = protocolFactory.buildProtocol(None)
        server = self._factory.buildProtocol(None)
        transports = FakeTransport(server, isServer=True), FakeTransport(client, isServer=False)
        self.pumps.append(connect(server, transports[0], client, transports[1], clock=self._clock))
        return succeed(client)


class WebSocketTests(SynchronousTestCase):
    """Every part from the socket to the endpoint, without a network."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.desk = Desk()
        settings = EndpointSettings(path="/v1/updates/")
        site: Site = EndpointSite(SocketIOEndpoint(self.desk, settings, self.clock), Clock())
        site.startFactory()
        self.addCleanup(site.stopFactory)
        self.wires = MemoryEndpoint(site, self.clock)
        self.server = RemoteServer("http://happy.test", self.clock, endpoint=self.wires)

    def flush(self) -> None:
        """Move bytes until nobody has any left."""
        for pump in self.wires.pumps:
            pump.flush()

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Work under way, as far as it gets without waiting for time."""
        result = Deferred.fromCoroutine(work)
        self.flush()
        return result

    def open(self, token: str = "right") -> Deferred[Socket]:
        return self.start(open_socket(self.server, token, Scope.user(), app_state="active"))

    def test_conversation(self) -> None:
        """A socket is let in, hears events, sends them, and gets acknowledgements."""
        socket = self.successResultOf(self.open())
        assert socket.id == self.desk.sockets[0].id
        auth = b'{"token":"right","clientType":"user-scoped","happyClient":"python/1","appState":"active"}'
        assert self.desk.presented == [auth]
        self.successResultOf(self.start(socket.next_update("welcome")))
        socket.emit("app-state", {"state": "active"})
        self.successResultOf(self.start(socket.next_ephemeral("app-state")))
        assert self.successResultOf(self.start(socket.call("x", {"a": "ü" * 70_000}))) == {"a": "ü" * 70_000}

    def test_refusal(self) -> None:
        """A refused socket raises the server's message and leaves no connection behind."""
        error = self.failureResultOf(self.open("wrong"), SocketRefused).value
        assert error.message == "Invalid authentication token"
        self.flush()
        assert self.clock.getDelayedCalls() == []

    def test_remote_call(self) -> None:
        """A registered method answers the server's request."""
        socket = self.successResultOf(self.open())
        registering = self.start(socket.register("m:echo", lambda params: [params]))
        served = self.desk.sockets[0]
        served.emit("rpc-registered", {"method": "m:echo"})
        self.flush()
        self.successResultOf(registering)
        answers: list[Any] = []
        served.call("rpc-request", {"method": "m:echo", "params": 1}, answered=answers.append)
        self.flush()
        assert [bytes(argument) for argument in answers[0]] == [b"[1]"]

    def test_heartbeats(self) -> None:
        """Pings are answered, so that the connection outlives every deadline."""
        socket = self.successResultOf(self.open())
        for _ in range(20):
            self.clock.advance(15)
            self.flush()
        assert socket.connected
        assert self.desk.reasons == []

    def test_orderly_close(self) -> None:
        """A closed socket has said goodbye, and no timer is left on either side."""
        socket = self.successResultOf(self.open())
        self.successResultOf(self.start(socket.close()))
        assert self.desk.reasons == ["client namespace disconnect"]
        assert self.clock.getDelayedCalls() == []

    def test_abort(self) -> None:
        """An aborted socket is gone at once, without a goodbye."""
        socket = self.successResultOf(self.open())
        socket.abort()
        self.flush()
        assert not socket.connected
        assert len(self.desk.reasons) == 1
        assert self.desk.reasons != ["client namespace disconnect"]

    def test_server_closes(self) -> None:
        """A connection that the server ends fails what is awaited."""
        socket = self.successResultOf(self.open())
        waiting = self.start(socket.next_update("never"))
        self.desk.sockets[0].close()
        self.flush()
        self.failureResultOf(waiting, Disconnected)

    def test_server_kicks(self) -> None:
        """A DISCONNECT of the server is told from a lost connection."""
        socket = self.successResultOf(self.open())
        self.desk.sockets[0].disconnect()
        self.flush()
        assert self.successResultOf(socket.closed()) == "server namespace disconnect"

    def test_no_realtime_endpoint(self) -> None:
        """An answer other than a WebSocket is reported as a lost connection."""
        site = EndpointSite(
            SocketIOEndpoint(self.desk, EndpointSettings(path="/elsewhere/"), self.clock), self.clock
        )
        self.wires = MemoryEndpoint(site, self.clock)
        self.server = RemoteServer("http://happy.test", self.clock, endpoint=self.wires)
        self.failureResultOf(self.open(), Disconnected)

    def test_silent_server(self) -> None:
        """A server that accepts connections and says nothing is given up in time."""
        silent = MemoryEndpoint(Factory.forProtocol(Protocol), self.clock)
        server = RemoteServer("http://happy.test", self.clock, endpoint=silent)
        opening = Deferred.fromCoroutine(open_socket(server, "right", Scope.user(), timeout=10))
        self.clock.advance(10)
        silent.pumps[0].flush()
        self.failureResultOf(opening, TimeoutError)

    def test_unreachable(self) -> None:
        """A server that cannot be reached fails in time, whatever the network does."""
        server = RemoteServer("http://127.0.0.1:1", MemoryReactorClock())
        opening = Deferred.fromCoroutine(open_socket(server, "right", Scope.user(), timeout=10))
        server.reactor.advance(10)  # type: ignore[attr-defined]
        self.failureResultOf(opening, TimeoutError)
