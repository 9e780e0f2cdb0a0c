"""Programs for the realtime layer to serve in tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Raw
from twisted.internet.task import Clock

from happy.socketio.endpoint import EndpointSettings, SocketIOEndpoint
from happy.socketio.socket import Acknowledge, Socket
from happy.socketio.standalone import EndpointSite
from tests.socketio.peers import Peer, PollingPeer, WebSocketPeer

PATH = "/rooms/"
"""Where the program is served."""
OWN_HEADERS = ((b"X-Own", b"first"), (b"Vary", b"Origin"))
"""What every answer has, in place of CORS."""
PREFLIGHT_HEADERS = ((b"X-Allowed", b"everything"),)
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Recorder:
    """Writes down what it hears. ``decide`` is called for each connect, ``react`` for each event."""

    namespaces = ("/", "/custom")

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.sockets: list[Socket] = []
        self.decide: Callable[[Socket], Awaitable[None] | None] = lambda socket: None
        self.greet: Callable[[Socket], None] = lambda socket: None
        self.react: Callable[..., None] = lambda socket, name, arguments, ack: None

    @property
    def socket(self) -> Socket:
        """The newest."""
        return self.sockets[-1]

    def connect(self, socket: Socket, auth: Raw | None) -> Awaitable[None] | None:
        self.heard.append(("connect", socket.namespace, None if auth is None else bytes(auth)))
        self.sockets.append(socket)
        return self.decide(socket)

    def joined(self, socket: Socket) -> None:
        self.heard.append(("joined", socket.namespace))
        self.greet(socket)

    def event(self, socket: Socket, name: str, arguments: Sequence[Raw], ack: Acknowledge | None) -> None:
        self.heard.append(("event", name, [bytes(argument) for argument in arguments]))
        self.react(socket, name, arguments, ack)

    def disconnected(self, socket: Socket, reason: str) -> None:
        assert not socket.connected
        self.heard.append(("disconnected", socket.namespace, reason))


def own_settings(**others: Any) -> EndpointSettings:
    """Settings of a program that has a path and headers of its own."""
    own: dict[str, Any] = {"path": PATH, "headers": lambda origin: OWN_HEADERS}
    return EndpointSettings(**{**own, "preflight_headers": PREFLIGHT_HEADERS, **others})


class World:
    """An endpoint with a program, on a clock, and clients for it, each of whoever is ``origin`` then."""

    clock_kind = Clock
    make_settings = staticmethod(own_settings)

    def __init__(self, **settings: Any) -> None:
        self.clock = self.clock_kind()
        self.program = Recorder()
        self.settings = self.make_settings(**settings)
        self.origin = "somebody"
        self.endpoint = SocketIOEndpoint(self.program, self.settings, self.clock, lambda channel: self.origin)
        self.site = EndpointSite(self.endpoint, self.clock)

    def peer(self) -> Peer:
        """A plain connection."""
        return Peer(self.site, self.clock)

    def websocket(self, *, joined: bool = True, step: int | None = None, **handshake: Any) -> WebSocketPeer:
        """A client on WebSocket, its handshake done, in the main namespace unless told otherwise."""
        target = f"{self.settings.path}?EIO=4&transport=websocket"
        peer = WebSocketPeer(self.site, self.clock, target, step=step, **handshake)
        if joined:
            peer.text("40")
        peer.receive()
        return peer

    def polling(self, *, joined: bool = True) -> PollingPeer:
        """A client on polling, its handshake done, in the main namespace unless told otherwise."""
        peer = PollingPeer(self.site, self.clock, self.settings.path)
        if joined:
            peer.post(b"40")
            peer.poll()
        return peer

    @property
    def last(self) -> tuple[Any, ...]:
        """What the program heard last."""
        self.clock.advance(0)
        return self.program.heard[-1]
