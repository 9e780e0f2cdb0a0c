"""Binary events whose last attachment never comes, nine megabytes each, before a login and after it.

A right server takes no attachments before the login, and counts what all half-received events hold together.
"""

from tests.hostile.clients import BINARY, GONE, frame
from tests.hostile.scene import Scene

BLOB = frame(b"x" * 990_000, BINARY)


def attack(scene: Scene) -> str:
    """As many sockets as one address can have use of."""
    token = scene.login()
    kept = []
    for number in range(scene.pick(16, 80)):
        try:
            link = scene.socket(token if number % 2 else None, timeout=5)
            kept.append(link)
            link.write(frame(b'4510-["x"]') + BLOB * 9 + BLOB[:-10])
        except GONE:
            continue
    scene.rest(0.3, 3)
    return f"{len(kept)} sockets"
