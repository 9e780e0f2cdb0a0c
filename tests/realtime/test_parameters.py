"""What every answer of the realtime path has, for pages from anywhere."""

from __future__ import annotations

from tests.realtime.happy_world import Parametrised

POLL = "/v1/updates/?EIO=4&transport=polling"
CORS = {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}


def test_answers() -> None:
    """Answers to polling, refusals and the opening of a WebSocket name everybody."""
    world = Parametrised()
    for target in (POLL, "/v1/updates/?EIO=3"):
        answer = world.peer().ask("GET", target, headers={"Origin": "https://app.example"})
        assert CORS.items() <= answer.headers.items()
    head = world.websocket(joined=False).head.lower()
    assert b"access-control-allow-origin: *\r\naccess-control-allow-credentials: true" in head


def test_preflight() -> None:
    """Whatever a page wants to ask, it may."""
    answer = Parametrised().peer().ask("OPTIONS", POLL, headers={"Origin": "https://app.example"})
    allowed = {"access-control-allow-methods": "GET,POST,OPTIONS", "access-control-allow-headers": "*"}
    assert answer.headers == {**CORS, **allowed, "content-length": "0"}


def test_kept() -> None:
    """Of a client's request nothing is kept but what it calls itself; where it comes from is not."""
    world = Parametrised()
    world.websocket(extra_headers=[(b"X-Happy-Client", b"cli/1"), (b"X-More", b"c")])
    handshake = world.program.socket.handshake
    assert (dict(handshake.headers), handshake.address) == ({"x-happy-client": "cli/1"}, "")
