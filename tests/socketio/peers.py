"""Clients of the realtime endpoint without a network: real sites and protocols on transports in memory.

A :class:`Peer` is one TCP connection to a site, fed and read in bytes. A :class:`WebSocketPeer` speaks
WebSocket on top, with wsproto: a second implementation to check ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = (
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + KEY,
)
"""What a request has that opens a WebSocket."""


class TurningClock(Clock):
    """Each advance is one turn: what is to be done soon is done in the next one."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class MemoryTransport(StringTransport):
    """Remembers what is written; ends its protocol a turn after it was told to, as a socket does."""

    protocol: IProtocol
    aborted = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000), lenient=True)
        self._clock = clock
        self.full = False
        self.unsent = 0

    @property
    def dataBuffer(self) -> bytes:
        """What the system has not taken, as far as anybody looks."""
        return bytes(self.unsent)

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.full and self.producer is not None:
            self.unsent += len(data)
            self.producer.pauseProducing()

    def drain(self) -> None:
        """The peer reads again."""
        self.full = False
        self.unsent = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True
        if not self.full:
            self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self._end(ConnectionAborted())

    def lost(self, reason: BaseException) -> None:
        """The connection is gone now."""
        if self.connected:
            self.connected = False
            self.producer = None
            protocol = self.protocol
            del self.protocol
            protocol.connectionLost(Failure(reason))

    def _end(self, reason: BaseException) -> None:
        self._clock.callLater(0, self.lost, reason)


class Peer:
    """One client connection."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self.clock = clock
        self.transport = MemoryTransport(clock)
        protocol = site.buildProtocol(self.transport.getPeer())
        assert protocol is not None
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Bytes arrive at whoever serves the connection by now."""
        self.transport.protocol.dataReceived(data)

    def take(self) -> bytes:
        """What came back since the last time."""
        data = self.transport.value()
        self.transport.clear()
        return data

    def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def response(self) -> Response | None:
        """The response that came back, if one did."""
        data = self.take()
        return Response(data) if data else None

    def ask(self, *arguments: Any, **named: Any) -> Response:
        """Send a request that is answered at once."""
        self.request(*arguments, **named)
        response = self.response()
        assert response is not None, "no answer"
        return response

    def drop(self) -> None:
        """Disconnect without a word."""
        self.transport.lost(ConnectionDone())

    @property
    def closed(self) -> bool:
        """Whether the server closed the connection."""
        self.clock.advance(0)
        return not self.transport.connected


class Response:
    """A parsed HTTP response."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split(" ")[1])
        pairs = [line.split(": ", 1) for line in lines]
        self.headers = {name.lower(): value for name, value in pairs}

    @property
    def packets(self) -> list[bytes]:
        """The packets of a poll's answer."""
        assert self.status == 200, self.status
        return self.body.split(b"\x1e")

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class PollingPeer:
    """An Engine.IO client on polling, each request on a connection of its own that ends after it."""

    def __init__(self, site: Site, clock: Clock, path: str) -> None:
        self._site = site
        self._clock = clock
        self._base = f"{path}?EIO=4&transport=polling"
        peer = Peer(site, clock)
        response = peer.ask("GET", self._base)
        peer.drop()
        self.open = json.loads(response.body[1:])
        self.sid = self.open["sid"]
        self.target = f"{self._base}&sid={self.sid}"

    def start_poll(self) -> Peer:
        """A GET that may be held."""
        peer = Peer(self._site, self._clock)
        peer.request("GET", self.target)
        return peer

    def poll(self) -> Response:
        """A GET that is answered at once."""
        peer = self.start_poll()
        response = peer.response()
        assert response is not None, "the poll is held"
        peer.drop()
        return response

    def post(self, body: bytes, **named: Any) -> Response:
        """A POST."""
        peer = Peer(self._site, self._clock)
        response = peer.ask("POST", self.target, body, **named)
        peer.drop()
        return response

    def websocket(self) -> WebSocketPeer:
        """A WebSocket that names this session."""
        return WebSocketPeer(self._site, self._clock, self.target.replace("=polling", "=websocket"))


def call_id(packet: str, name: str) -> int:
    """The number of a call, which is an event called ``name`` that asks for an answer."""
    number, found, _ = packet.removeprefix("42").partition(f'["{name}"')
    assert found, packet
    return int(number)


class WebSocketPeer(Peer):
    """A WebSocket client; ``events`` is everything that came, oldest first."""

    def __init__(
        self, site: Site, clock: Clock, target: str, *, step: int | None = None, **handshake: Any
    ) -> None:
        """``step`` is how many bytes arrive at the server at a time; all at once if None."""
        super().__init__(site, clock)
        self._step = step
        self._engine = WSConnection(ConnectionType.CLIENT)
        self.events: list[Event] = []
        self.head = b""
        request = Request(host="localhost", target=target, **handshake)
        self.send(self._engine.send(request))
        self.receive()

    def send(self, data: bytes) -> None:
        step = self._step or len(data) or 1
        for start in range(0, len(data), step):
            super().send(data[start : start + step])

    def send_event(self, *events: Event) -> None:
        """Send messages and the like, in one piece."""
        self.send(b"".join(self._engine.send(event) for event in events))

    def text(self, *texts: str) -> None:
        """Send text messages, in one piece."""
        self.send_event(*(TextMessage(text) for text in texts))

    def receive(self) -> list[Event]:
        """What came since the last time."""
        data = self.take()
        if not self.head:
            self.head = data.partition(b"\r\n\r\n")[0]
        if data:
            self._engine.receive_data(data)
        came = list(self._engine.events())
        self.events += came
        return came

    def texts(self) -> list[str]:
        """The text messages that came since the last time, and nothing else came."""
        came = [event for event in self.receive() if not isinstance(event, AcceptConnection)]
        assert all(isinstance(event, TextMessage) and event.message_finished for event in came), came
        return [event.data for event in came if isinstance(event, TextMessage)]

    def messages(self) -> list[str | bytes]:
        """The messages that came since the last time, binary ones too."""
        came = self.receive()
        return [bytes(e.data) if isinstance(e, BytesMessage) else e.data for e in came if hasattr(e, "data")]

    def closing(self) -> int:
        """The status code of the close frame that came; 1005 if it had none."""
        for event in self.receive():
            if isinstance(event, CloseConnection):
                return int(event.code)
        raise AssertionError("no close frame came")

    def rejection(self) -> tuple[int, bytes]:
        """Status and body of the answer that refused the handshake."""
        status = next(event.status_code for event in self.events if isinstance(event, RejectConnection))
        return status, b"".join(bytes(event.data) for event in self.events if isinstance(event, RejectData))
