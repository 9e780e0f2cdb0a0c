"""Answers to polls that nobody reads, and polls by the hundred of the same session.

A right server counts what it keeps for polling like what it keeps for WebSockets.
"""

from tests.hostile.clients import GONE, POLLING, request
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Sessions with much to be polled, and polls that are not read."""
    token = scene.login()
    session = scene.session(token)
    sids = []
    for _ in range(scene.pick(15, 150)):
        sid = scene.polling()
        scene.post(sid, b'40{"token":"%s"}' % token.encode())
        sids.append(sid)
    for number in range(scene.pick(4, 14)):
        items = [{"content": text(300_000), "localId": f"{number}-{turn}"} for turn in range(3)]
        scene.ask("POST", f"/v3/sessions/{session}/messages", {"messages": items}, token)
    lanes = []
    for number, sid in enumerate(sids):
        lane = scene.dial(receive_buffer=4096, timeout=2)
        lanes.append(lane)
        try:
            lane.write(request("GET", f"{POLLING}&sid={sid}") * (1 if number % 2 else 500))
        except GONE:
            continue
    scene.rest(0.3, 10)
    for lane in lanes:
        lane.close()
    return f"{len(lanes)} polls"
