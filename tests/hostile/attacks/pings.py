"""Pings of WebSocket and of Engine.IO, pongs that nobody asked for and probes, without reading the answers.

A right server answers what is due while there is room, and cuts who does not read.
"""

from tests.hostile.clients import GONE, PING, TEXT, Socket, frame
from tests.hostile.scene import Scene, swallow

PONG = 10
KINDS = (
    frame(b"x" * 125, PING),
    frame(b"", PING),
    frame(b"x" * 125, PONG),
    frame(b"3", TEXT),
    frame(b"2probe", TEXT),
    frame(b"2", TEXT),
    frame(b"6", TEXT),
)


def attack(scene: Scene) -> str:
    """Some that read, and some that do not."""
    token, sent = scene.login(), [0]

    def flood(number: int) -> None:
        link: Socket | None = None
        many = KINDS[number % len(KINDS)] * 2000
        for _ in scene.until(0.3, 10):
            try:
                if link is None:
                    link = scene.socket(token if number % 3 else None, receive_buffer=4096, timeout=3)
                    if number >= len(KINDS):
                        swallow(link)
                link.write(many)
                sent[0] += 2000
            except GONE:
                link = None

    scene.together(scene.pick(1, 2) * len(KINDS), flood)
    return f"{sent[0]:,} pings"
