"""WebSockets that send a megabyte of tiny frames at once: packets, empty texts, pings of both layers.

A right server works through them in slices, bounds what it has to answer, and cuts off who does not read
that.
"""

from tests.hostile.clients import CONTINUATION, GONE, PING, TEXT, event, frame
from tests.hostile.scene import Scene

SIZE = 1_000_000
FRAMES = (
    frame(b"40/a,"),
    frame(b"2"),
    frame(b"3"),
    frame(b""),
    frame(b"", PING),
    frame(b"x" * 125, PING),
    frame(b"", TEXT, final=False) + frame(b"", CONTINUATION),
    event("ping", {}, 1),
    event("session-alive", {"sid": "x", "time": 1}),
    event("rpc-call", {"method": "x", "params": ""}, 1),
    frame(b"431[]"),
    frame(b"41"),
)


def attack(scene: Scene) -> str:
    """Each kind of frame, as many as fit, from a socket that reads nothing of the answers."""
    token = scene.login()
    count = 0
    for joined in (False, True):
        for _ in scene.until(0.3, 20):
            one = FRAMES[count % len(FRAMES)]
            count += 1
            try:
                link = scene.socket(token if joined else None, timeout=5)
                link.write(one * (SIZE // len(one)))
                link.reset()
            except GONE:
                continue
    return f"{count} megabytes"
