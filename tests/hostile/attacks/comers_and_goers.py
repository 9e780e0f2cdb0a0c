"""Sockets that come and go by the hundred, each leaving what a client that comes back would be sent.

A right server bounds what it keeps for those who may come back: their number, their events, their parked
state.
"""

from tests.hostile.clients import GONE
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Sockets that break off after some messages of their account."""
    tokens = scene.crowd(scene.pick(4, 60), lambda _: scene.login())
    sessions = [scene.session(token) for token in tokens]
    content = text(scene.pick(100_000, 300_000))
    count = 0
    for number in scene.until(0.3, 25):
        token, session = tokens[number % len(tokens)], sessions[number % len(tokens)]
        try:
            link = scene.socket(token, timeout=5)
            item = {"content": content, "localId": str(number)}
            scene.ask("POST", f"/v3/sessions/{session}/messages", {"messages": [item]}, token)
            link.reset()
            count += 1
        except GONE:
            continue
    return f"{count} sockets"
