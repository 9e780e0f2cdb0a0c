"""Upgrade requests that go past twisted.web and Autobahn's handshake, against those that do not."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from happy.base.bounds import Budget
from happy.socketio.endpoint import EngineEndpoint
from happy.web.addressing import Origins
from happy.web.inflight import InFlight
from happy.web.site import HappySite
from happy.wire.heads import LARGEST_HEAD
from tests.realtime.happy_world import Parametrised
from tests.socketio.peers import HEADERS, KEY, Peer

LINE = b"GET /v1/updates/?EIO=4&transport=websocket HTTP/1.1"
JOIN = b"\x81\x82\0\0\0\x0040"


def converse(request: bytes, *, fast: bool) -> tuple[Any, ...]:
    """What a client gets for a request, before and after it joins, and what the program heard."""
    world = Parametrised()
    router: Any = SimpleNamespace(work=InFlight(), origins=Origins(), memory=Budget(2**28), elsewhere=None)
    site = HappySite(router, world.endpoint, world.clock, fast_requests=fast)
    peer = Peer(site, world.clock)
    peer.send(request)
    answer = peer.take()
    if peer.transport.connected and b" 101 " in answer:
        peer.send(JOIN)
        answer += b"\n" + peer.take()
    handshakes = [(socket.handshake.headers, socket.handshake.query) for socket in world.program.sockets]
    return (
        re.sub(rb'"sid":"[^"]*"', b"", re.sub(rb"\r\nDate: [^\r]*", b"", answer)),
        world.program.heard,
        handshakes,
        peer.transport.disconnecting,
        world.endpoint.count,
        world.endpoint.websockets,
    )


ODD = st.sampled_from(
    [
        b"Upgrade: WebSocket",
        b"Upgrade: h2c, websocket",
        b"Connection: keep-alive, Upgrade",
        b"connection:upgrade",
        b"Connection: close",
        b"Sec-WebSocket-Version: 8",
        b"Sec-WebSocket-Key: short",
        b"Sec-WebSocket-Key:\t" + KEY + b" ",
        b"Sec-WebSocket-Protocol: chat, more",
        b"Sec-WebSocket-Protocol: not a token",
        b"Sec-WebSocket-Protocol: ",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Origin: http://a",
        b"Origin: a\x01",
        b"X-Happy-Client: cli/1",
        b"X-Happy-Client: ",
        b"X-Happy-Client: \xe9",
        b"Host: other",
        b" folded",
        b"no colon",
        b"Bad Name: x",
        b"Long: " + b"x" * LARGEST_HEAD,
    ]
)
LINES = st.sampled_from(
    [
        *[LINE] * 6,
        b"POST" + LINE[3:],
        LINE.replace(b"1.1", b"1.0"),
        LINE.replace(b"EIO=4", b"EIO=3"),
        LINE.replace(b"/?", b"?"),
        LINE.replace(b"EIO=4", b"EIO=4&sid=nobody&x=1"),
        LINE.replace(b"websocket", b"polling"),
        LINE.replace(b"EIO=4", b"EIO=%34&a+b=c%20d&&e&f=&g=1=2&g=3"),
        LINE.replace(b"EIO=4", b"EIO=4&a&b=&c=1=2&c=3&t=x"),
    ]
)


@given(
    LINES,
    st.permutations(HEADERS),
    st.lists(st.integers(0, 4), max_size=1),
    st.lists(ODD, max_size=2),
    st.sampled_from([b"", b"", b"", JOIN]),
)
@example(LINE, list(HEADERS), [], [], b"")
def test_same_as_general(
    line: bytes, headers: list[bytes], missing: list[int], odd: list[bytes], early: bytes
) -> None:
    """Whatever is asked, the answers and what follows are those of the general parsers."""
    kept = [header for number, header in enumerate(headers) if number not in missing]
    request = b"\r\n".join([line, *kept, *odd, b"", b""]) + early
    assert converse(request, fast=True) == converse(request, fast=False)


def test_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a request goes past the general way, and nothing of what follows goes to HTTP again."""
    monkeypatch.setattr(EngineEndpoint, "render", None)
    answer, heard, *_ = converse(b"\r\n".join([LINE, *HEADERS, b"", b""]), fast=True)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert [one[0] for one in heard] == ["connect", "joined"]
