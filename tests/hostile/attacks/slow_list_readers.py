"""Dozens of readers of a long list that take the first bytes and then nothing, or a few bytes now and then.

A right server counts unsent answers, and cuts those of its largest holder when there are too many.
"""

from tests.hostile.clients import GONE, request
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Ask on many connections, by several requests on each, and read almost nothing."""
    token = scene.login()
    session = scene.session(token, metadata=text(scene.pick(4_000_000, 20_000_000)))
    items = [{"content": text(90_000), "localId": str(number)} for number in range(scene.pick(20, 90))]
    path = f"/v3/sessions/{session}/messages"
    scene.ask("POST", path, {"messages": items}, token)
    targets = ("/v1/sessions", f"{path}?limit=500", "/v2/sessions", f"/v1/sessions/{session}/messages")
    lanes = scene.crowd(scene.pick(40, 120), lambda _: scene.dial(receive_buffer=4096, timeout=1))
    for number, lane in enumerate(lanes):
        try:
            lane.write(request("GET", targets[number % len(targets)], token=token) * 3)
        except GONE:
            continue
    for _ in scene.until(0.3, 30):
        for lane in lanes[::7]:
            try:
                lane.plain.recv(100)
            except GONE:
                continue
        scene.rest(0.1, 0.1)
    for lane in lanes:
        lane.close()
    return f"{len(lanes)} readers"
