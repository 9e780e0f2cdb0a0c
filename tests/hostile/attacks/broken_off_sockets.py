"""Sockets that break off with output queued for them, by WebSocket, by polling, and during an upgrade.

A right server lets go of what was queued, except for what a client that comes back may be sent, which has a
bound.
"""

from tests.hostile.clients import GONE, POLLING, UPGRADE, request
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Sockets that do not read, messages for them, and then a reset."""
    token = scene.login()
    session = scene.session(token)
    count = 0
    for number in range(scene.pick(3, 25)):
        links = scene.crowd(20, lambda _: scene.socket(token, receive_buffer=4096, timeout=5))
        item = {"content": text(200_000), "localId": f"{number}"}
        for turn in range(scene.pick(3, 10)):
            item["localId"] = f"{number}-{turn}"
            scene.ask("POST", f"/v3/sessions/{session}/messages", {"messages": [item]}, token)
        count += len(links) + _half_upgraded(scene, token)
        for link in links:
            link.reset()
    return f"{count} sockets"


def _half_upgraded(scene: Scene, token: str) -> int:
    """Polling sessions that have joined, with an open poll and a half-made upgrade, all left behind."""
    for _ in range(5):
        try:
            sid = scene.polling()
            scene.post(sid, b'40{"token":"%s"}' % token.encode())
            poll, upgrade = scene.dial(timeout=5), scene.dial(timeout=5)
            poll.write(request("GET", f"{POLLING}&sid={sid}"))
            upgrade.write(UPGRADE.replace(b"websocket HTTP", b"websocket&sid=%s HTTP" % sid.encode(), 1))
            upgrade.plain.recv(100)
            poll.reset()
            upgrade.reset()
        except GONE:
            continue
    return 5
