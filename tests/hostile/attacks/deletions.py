"""Sessions full of messages, deleted all at once and again, while more is written to them.

A right server deletes aside, where nobody else waits, and answers what comes to what is gone.
"""

from tests.hostile.clients import GONE, event, request
from tests.hostile.scene import Scene, swallow, text


def attack(scene: Scene) -> str:
    """Fill some, delete them, from many connections, over and over."""
    token, deleted = scene.login(), 0
    link = scene.socket(token, timeout=10)
    swallow(link)
    for turn in scene.until(0.3, 15):
        sessions = [scene.session(token, f"{turn} {number}") for number in range(scene.pick(2, 12))]
        said = [
            event("message", {"sid": session, "message": text(300)})
            for _ in range(scene.pick(20, 300))
            for session in sessions
        ]
        wishes = [request("DELETE", f"/v1/sessions/{session}", token=token) for session in sessions]
        try:
            link.write(b"".join(said))
            deleted += scene.together(scene.pick(2, 6), lambda _, wishes=wishes: scene.pour(wishes * 2))
            link.write(b"".join(said[: len(sessions)]))
        except GONE:
            link = scene.socket(token, timeout=10)
            swallow(link)
    return f"{deleted} connections that deleted"
