"""Downloads that break off: lists, pages of messages, attachments; by a reset, a close, or half a close.

A right server drops the rest of the answer at once, and nothing of it stays. Phones on trains do this.
"""

import socket

from tests.hostile.clients import GONE, request
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Begin each and break it off after the first bytes."""
    token = scene.login()
    session = scene.session(token, metadata=text(scene.pick(2_000_000, 20_000_000)))
    items = [{"content": text(90_000), "localId": str(number)} for number in range(scene.pick(20, 90))]
    path = f"/v3/sessions/{session}/messages"
    scene.ask("POST", path, {"messages": items}, token)
    targets = ["/v1/sessions", f"{path}?limit=500", _upload(scene, token, session), "/v2/sessions"]
    count = 0
    for number in range(scene.pick(24, 120)):
        lane = scene.dial(receive_buffer=4096)
        try:
            lane.write(request("GET", targets[number % len(targets)], token=token) * scene.pick(1, 3))
            lane.plain.recv(1000)
            if number % 3 == 2:
                lane.plain.shutdown(socket.SHUT_WR)
                lane.plain.recv(1000)
        except GONE:
            continue
        lane.close() if number % 3 == 1 else lane.reset()
        count += 1
    return f"{count} broken off"


def _upload(scene: Scene, token: str, session: str) -> str:
    path = f"/v1/sessions/{session}/attachments"
    body = text(scene.pick(1_000_000, 10_000_000)).encode()
    wish = scene.ask("POST", f"{path}/request-upload", {"filename": "a", "size": len(body)}, token)
    target = "/" + wish.json()["uploadUrl"].split("/", 3)[3]
    scene.ask("PUT", target, body, token)
    return target.partition("?")[0]
