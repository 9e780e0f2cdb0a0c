"""Sockets that register methods whose names have nearly a megabyte each, waiting for each answer.

A right server bounds the length of a name, or counts what it keeps for an account and refuses more.
"""

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, text

SIZE = 990_000


def attack(scene: Scene) -> str:
    """As many names as are taken."""
    token, name, count = scene.login(), text(SIZE), 0
    kept = []
    for number in scene.until(0.5, 30):
        try:
            if number % 400 == 0:
                kept.append(scene.socket(token, timeout=10))
            kept[-1].write(event("rpc-register", {"method": f"{number}{name}"}))
            kept[-1].until(b'42["rpc-')
            count += 1
        except GONE:
            break
    return f"{count} names"
