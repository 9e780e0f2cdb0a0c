"""The programs do what the suites ask for, as far as that can be seen without Node."""

from __future__ import annotations

import json
from typing import Any

from wsproto.events import TextMessage

from tests.clientsuites.programs import ANSWERS_AFTER, COOKIES, EngineSite, SocketSite
from tests.socketio.peers import Peer, TurningClock, WebSocketPeer

ENGINE = "/engine.io/?EIO=4&transport="
SOCKET = "/socket.io/?EIO=4&transport=websocket&a=b"


def joined(site: SocketSite, clock: TurningClock, **auth: Any) -> tuple[WebSocketPeer, dict[str, Any]]:
    """A client in the namespace that tells what is known of it; and the answer to its CONNECT."""
    peer = WebSocketPeer(site, clock, SOCKET)
    clock.advance(ANSWERS_AFTER)
    peer.texts()
    peer.text(f"40/abc,{json.dumps(auth)}")
    answers = peer.texts()
    at = next(number for number, answer in enumerate(answers) if answer.startswith("40"))
    connect = json.loads(answers[at][7:])
    return peer, {"connect": connect, "missed": answers[:at], "rest": answers[at + 1 :]}


def test_engine() -> None:
    """A session has cookies and a greeting, gets its messages and what it asks for; or it is refused."""
    clock = TurningClock()
    site = EngineSite(clock)
    assert Peer(site, clock).ask("GET", ENGINE + "polling&deny=1").status == 403
    opening = Peer(site, clock)
    opening.request("GET", ENGINE + "polling")
    head = opening.take()
    assert all(b"Set-Cookie: " + cookie + b"\r\n" in head for cookie in COOKIES)
    peer = WebSocketPeer(site, clock, ENGINE + "websocket")
    assert peer.events[-1] == TextMessage("4hi")
    peer.text("4give binary", "4x")
    assert peer.messages() == [bytes(range(5)), "4x"]


def test_sockets() -> None:
    """Who comes back with what it has heard last is told what came later."""
    clock = TurningClock()
    site = SocketSite(clock)
    peer, told = joined(site, clock, who="me")
    [known, offset] = json.loads(told["rest"][0][7:])[1:]
    assert (known["auth"], known["query"]) == ({"who": "me"}, {"a": "b"})
    peer.text('42/abc,7["echo",5]', '42/abc,["hi"]')
    assert peer.texts()[0] == "43/abc,7[5]"
    peer.drop()
    again = joined(site, clock, pid=told["connect"]["pid"], offset=offset)[1]
    assert json.loads(again["missed"][0][7:])[0] == "hi"
    assert again["connect"] == told["connect"]
