"""One account with hundreds of sockets that all read, and messages for all of them from all of them.

A right server encodes each once, works in slices, and lets others in between.
"""

from tests.hostile.clients import event
from tests.hostile.scene import Scene, swallow, text


def attack(scene: Scene) -> str:
    """Everybody tells everybody."""
    token = scene.login()
    sessions = [scene.session(token, f"tag {number}") for number in range(5)]
    links = scene.crowd(scene.pick(40, 300), lambda _: scene.socket(token, timeout=10))
    for link in links:
        swallow(link)
    sent = 0
    for number in scene.until(0.3, 15):
        session = sessions[number % len(sessions)]
        said = [
            event("message", {"sid": session, "message": text(2000), "localId": f"{number}"}),
            event("session-alive", {"sid": session, "time": number, "thinking": bool(number % 2)}),
            event("update-metadata", {"sid": session, "metadata": text(5000), "expectedVersion": number}, 1),
        ]
        links[number % len(links)].write(b"".join(said))
        sent += len(said)
    for link in links:
        link.close()
    return f"{len(links)} sockets, {sent} events"
