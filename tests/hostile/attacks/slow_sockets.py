"""Hundreds of sockets of one account that do not read, by WebSocket and polling, and messages for all.

A right server bounds what is queued for one socket, and what is queued for all sockets of an account.
"""

from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Fill the queues from one more socket."""
    token = scene.login()
    session = scene.session(token)
    links = scene.crowd(scene.pick(40, 200), lambda _: scene.socket(token, receive_buffer=4096, timeout=5))
    sids = scene.crowd(scene.pick(10, 100), lambda _: _joined(scene, token))
    sent = 0
    for number in scene.until(0.45, 20):
        items = [{"content": text(300_000), "localId": f"{number}-{turn}"} for turn in range(3)]
        scene.ask("POST", f"/v3/sessions/{session}/messages", {"messages": items}, token)
        sent += 900_000
    for link in links:
        link.close()
    return f"{len(links)} sockets, {len(sids)} polling, {sent / 1e6:.0f} MB for each"


def _joined(scene: Scene, token: str) -> str:
    sid = scene.polling()
    scene.post(sid, b'40{"token":"%s"}' % token.encode())
    return sid
