"""One account with all the sockets that it may have, all of which read, and thousands of messages in batches.

A right server tells one account's clients in turns with all others, and goes on committing meanwhile.
"""

import selectors
import threading
from collections.abc import Sequence

from tests.hostile.clients import GONE, Socket, event
from tests.hostile.scene import Scene, text

MOST = 1 << 18


def attack(scene: Scene) -> str:
    """A few of the sockets send as much as they can."""
    token = scene.login()
    sessions = [scene.session(token, f"tag {number}") for number in range(4)]
    links = scene.crowd(scene.pick(150, 1990), lambda _: scene.socket(token, timeout=10))
    read_all(links)
    sent = 0
    for number in scene.until(0.5, 15):
        session = sessions[number % len(sessions)]
        messages = [
            event("message", {"sid": session, "message": text(200), "localId": f"{number} {one}"})
            for one in range(256)
        ]
        alive = event("session-alive", {"sid": session, "time": number, "thinking": bool(number % 2)})
        try:
            links[number % 8].write(b"".join([*messages, alive]))
        except GONE:
            break
        sent += len(messages)
    scene.rest(0.2, 5)
    for link in links:
        link.close()
    return f"{len(links)} sockets, {sent:,} messages"


def read_all(links: Sequence[Socket]) -> None:
    """Read and forget whatever comes, on one thread for all of them."""
    ready = selectors.DefaultSelector()
    for link in links:
        ready.register(link.plain, selectors.EVENT_READ)

    def drain() -> None:
        buffer = bytearray(MOST)
        while ready.get_map():
            for key, _ in ready.select(0.5):
                plain = key.fileobj
                try:
                    ended = not plain.recv_into(buffer)  # type: ignore[union-attr]
                except OSError:
                    ended = True
                if ended:
                    ready.unregister(plain)

    threading.Thread(target=drain, daemon=True).start()
