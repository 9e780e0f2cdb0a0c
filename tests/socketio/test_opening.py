"""Opening handshakes that bypass Autobahn, against its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from happy.socketio.fastframes import FastWebSocket
from happy.socketio.shared import EndpointSettings
from happy.socketio.upgrade import offered_subprotocol, read_opening
from happy.socketio.websocket import EngineWebSocket, EngineWebSocketFactory
from happy.wire.heads import parse_usual
from tests.socketio.peers import HEADERS, KEY, MemoryTransport

LINE = b"GET /rooms/?EIO=4&transport=websocket HTTP/1.1"
OWN = ((b"X-Own", b"first"), (b"X-Own", b"second"), (b"Vary", b"Origin"))


def opened(*, fast: bool, subprotocol: bytes = b"") -> tuple[EngineWebSocket, bytes]:
    """A WebSocket without owner, and what its client got."""
    clock = Clock()
    factory = EngineWebSocketFactory(EndpointSettings(fast_frames=fast), clock, FastWebSocket)
    websocket = factory.build()
    transport = MemoryTransport(clock)
    transport.protocol = websocket
    websocket.begin(transport, KEY, subprotocol, OWN)
    assert factory.open == {websocket}
    assert transport.producer is websocket
    assert factory.countConnections == 1
    return websocket, transport.value()


@pytest.mark.parametrize("subprotocol", [b"", b"chat"])
def test_same_answer(subprotocol: bytes) -> None:
    """The client hears what Autobahn would say."""
    answers = [opened(fast=fast, subprotocol=subprotocol)[1] for fast in (True, False)]
    assert answers[0] == answers[1]
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answers[0]
    assert answers[0].count(b"X-Own") == 2


def test_same_state() -> None:
    """Every attribute that Autobahn leaves in an open WebSocket is there, with the same value."""
    (fast, _), (stock, _) = opened(fast=True), opened(fast=False)
    own = {"transport", "factory"}
    assert {name: getattr(fast, name) for name in vars(stock).keys() - own} == {
        name: value for name, value in vars(stock).items() if name not in own
    }
    assert len(vars(fast)) < 5


def test_nothing_shared_that_changes() -> None:
    """What a message changes in one WebSocket is not seen in another of its class."""
    factory = EngineWebSocketFactory(EndpointSettings(), Clock(), FastWebSocket)
    first, second = factory.build(), factory.build()
    for websocket in (first, second):
        websocket.begin(MemoryTransport(Clock()), KEY, b"", ())
    first.dataReceived(b"\x01\x82\0\0\0\0ab\x89")
    assert first.utf8validator is not second.utf8validator
    assert (second.data, second.inside_message, second.current_frame) == (b"", False, None)


def test_unknown_state() -> None:
    """Where an open WebSocket holds what cannot be shared, Autobahn opens each of them."""

    class Strange(FastWebSocket):
        def onOpen(self) -> None:
            super().onOpen()
            self.strange: list[int] = []

    factory = EngineWebSocketFactory(EndpointSettings(), Clock(), Strange)
    websocket = factory.build()
    websocket.begin(MemoryTransport(Clock()), KEY, b"", ())
    assert "state" in vars(websocket)


def test_usual() -> None:
    """What well-behaved clients send is recognised."""
    usual = parse_usual(b"\r\n".join([LINE, *HEADERS, b"User-Agent: node", b"", b""]))
    assert usual is not None
    assert usual.uri == LINE.split()[1]
    assert read_opening(usual) == (KEY, b"")
    assert usual.headers["user-agent"] == "node"


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (HEADERS[1], b"Upgrade: h2c"),
        (HEADERS[2], b"Connection: keep-alive"),
        (HEADERS[3], b"Sec-WebSocket-Version: 12"),
        (HEADERS[4], b"Sec-WebSocket-Key: short"),
        (HEADERS[0], HEADERS[0] + b"\r\nContent-Length: 0"),
    ],
)
def test_unusual(line: bytes, other: bytes) -> None:
    """What lacks something, or has a body, is for others to judge."""
    usual = parse_usual(b"\r\n".join([LINE, *(other if one == line else one for one in HEADERS), b"", b""]))
    assert usual is not None
    assert read_opening(usual) is None


def test_first_subprotocol() -> None:
    """Of subprotocols in several lines the first of all is spoken."""
    request: Any = SimpleNamespace(
        requestHeaders=Headers({b"Sec-WebSocket-Protocol": [b"one , two", b"three"]})
    )
    assert offered_subprotocol(request) == b"one"


def test_timers() -> None:
    """Autobahn sets none of its own, which would be on the reactor's clock: those of the endpoint do."""
    websocket = EngineWebSocketFactory(EndpointSettings(), Clock()).build()
    websocket.makeConnection(MemoryTransport(Clock()))
    assert websocket.openHandshakeTimeoutCall is None
