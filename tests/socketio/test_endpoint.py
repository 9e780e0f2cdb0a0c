"""What reaches the endpoint, and how it refuses."""

from __future__ import annotations

import pytest

from tests.socketio.peers import WebSocketPeer
from tests.socketio.programs import PATH, UPGRADE, World

OWN = {"x-own": "first", "vary": "Origin"}
POLL = "?EIO=4&transport=polling"
SOCKET = "?EIO=4&transport=websocket"


@pytest.mark.parametrize(
    ("target", "served"),
    [
        (b"/rooms/", True),
        (b"/rooms", False),
        (b"/rooms?EIO=4", True),
        (b"/rooms/anything/else?x", True),
        (b"/roomsx", False),
        (b"/room", False),
        (b"/v1?/rooms/", False),
        (b"/", False),
    ],
)
def test_paths(target: bytes, served: bool) -> None:
    """Everything below the path is the endpoint's, and the path without its slash before a query."""
    assert World().endpoint.handles(target) is served


@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/"), f"{PATH}anything"])
def test_both_transports_on_all_paths(path: str) -> None:
    """Plain requests and upgrades are served alike on each of them."""
    world = World()
    assert world.peer().ask("GET", path + POLL).status == 200
    assert WebSocketPeer(world.site, world.clock, path + SOCKET).head.startswith(b"HTTP/1.1 101")


REFUSALS = [
    ("GET", "?EIO=4", {}, 0, "Transport unknown"),
    ("GET", "?EIO=4&transport=x", {}, 0, "Transport unknown"),
    ("GET", "", {}, 0, "Transport unknown"),
    ("GET", POLL + "&sid=nobody", {}, 1, "Session ID unknown"),
    ("POST", POLL + "&sid=nobody", {}, 1, "Session ID unknown"),
    ("POST", POLL, {}, 2, "Bad handshake method"),
    ("PUT", POLL + "&sid=", {}, 2, "Bad handshake method"),
    ("GET", SOCKET, {}, 3, "Bad request"),
    ("GET", POLL, {"Origin": "http://a\x01"}, 3, "Bad request"),
    ("GET", "?transport=polling", {}, 5, "Unsupported protocol version"),
    ("GET", "?EIO=3&transport=polling", {}, 5, "Unsupported protocol version"),
    ("GET", "?EIO=4&EIO=04&transport=polling", {}, 5, "Unsupported protocol version"),
]


@pytest.mark.parametrize(("method", "query", "headers", "code", "message"), REFUSALS)
def test_refusals(method: str, query: str, headers: dict[str, str], code: int, message: str) -> None:
    """A plain request is refused with code and message, for any origin to read."""
    response = World().peer().ask(method, PATH + query, headers=headers)
    assert response.status == 400
    assert response.json == {"code": code, "message": message}
    assert response.headers["content-type"] == "application/json"
    assert {name: response.headers[name] for name in OWN} == OWN


@pytest.mark.parametrize(
    ("method", "query", "headers", "message"),
    [
        ("GET", "?EIO=4", {}, b"Transport unknown"),
        ("GET", SOCKET + "&sid=nobody", {}, b"Session ID unknown"),
        ("POST", SOCKET, {}, b"Bad handshake method"),
        ("GET", SOCKET, {"Origin": "a\x01"}, b"Bad request"),
        ("GET", "?EIO=3&transport=websocket", {}, b"Unsupported protocol version"),
        ("GET", SOCKET, {"Sec-WebSocket-Key": "short"}, b"Bad request"),
        ("GET", SOCKET, {"Sec-WebSocket-Key": "!" * 24}, b"Bad request"),
        ("GET", SOCKET, {"Sec-WebSocket-Key": "!" + UPGRADE["Sec-WebSocket-Key"]}, b"Bad request"),
        ("GET", SOCKET, {"Sec-WebSocket-Version": "8"}, b"Bad request"),
        ("GET", SOCKET, {"Sec-WebSocket-Protocol": "a b"}, b"Bad request"),
        ("GET", SOCKET, {"Content-Length": "5"}, b"Bad request"),
    ],
)
def test_refused_upgrades(method: str, query: str, headers: dict[str, str], message: bytes) -> None:
    """An upgrade request is refused before anything is upgraded: with text, and the connection's end."""
    world = World()
    peer = world.peer()
    body = b"12345" if "Content-Length" in headers else b""
    sent = {**UPGRADE, **headers}
    sent.pop("Content-Length", None)
    response = peer.ask(method, PATH + query, body, sent)
    assert (response.status, response.body) == (400, message)
    assert response.headers["connection"] == "close"
    assert response.headers["content-type"] == "text/html"
    assert {name: response.headers[name] for name in OWN} == OWN
    assert peer.closed
    assert world.endpoint.count == 0


def test_preflight() -> None:
    """OPTIONS is answered whatever it asks for."""
    for query in ("", POLL, "?transport=x"):
        response = World().peer().ask("OPTIONS", PATH + query, headers={"Origin": "https://app.example"})
        assert (response.status, response.body) == (204, b"")
        assert response.headers == {
            **OWN,
            "x-allowed": "everything",
            "content-length": "0",
        }


def test_upgrade_of_a_polling_request() -> None:
    """A WebSocket that says it is polling is accepted and closed at once."""
    world = World()
    client = WebSocketPeer(world.site, world.clock, PATH + POLL)
    assert client.head.startswith(b"HTTP/1.1 101")
    assert [event.code for event in client.events if hasattr(event, "code")] == [1005]
    assert world.endpoint.count == 0


def test_upgrade_to_something_else() -> None:
    """A request that would upgrade to something else is a plain one."""
    headers = {"Connection": "Upgrade", "Upgrade": "h2c"}
    assert World().peer().ask("GET", PATH + POLL, headers=headers).status == 200


def test_count() -> None:
    """The endpoint counts sessions on any transport, and forgets those that are over."""
    world = World()
    clients = [world.websocket(joined=False), world.websocket()]
    polling = world.polling()
    assert world.endpoint.count == 3
    for client in clients:
        client.drop()
    polling.post(b"1")
    polling.poll()
    assert world.endpoint.count == 0
    assert not world.clock.getDelayedCalls()


def test_sids_are_secrets_of_their_own() -> None:
    """Session ids are twenty URL-safe characters, and no two are alike."""
    world = World()
    sids = {world.polling(joined=False).sid for _ in range(50)}
    assert len(sids) == 50
    assert all(len(sid) == 20 and sid.replace("-", "a").replace("_", "a").isalnum() for sid in sids)


@pytest.mark.parametrize(
    ("name", "value"),
    [("Upgrade", "h2c"), ("Connection", "keep-alive"), ("Upgrade", ""), ("Connection", "")],
)
def test_half_an_upgrade(name: str, value: str) -> None:
    """Both headers make an upgrade; with one of them a request is a plain one."""
    response = World().peer().ask("GET", PATH + SOCKET, headers={**UPGRADE, name: value})
    assert (response.status, response.headers["content-type"]) == (400, "application/json")
