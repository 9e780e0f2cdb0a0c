"""One address opens as many connections as the server may have, and keeps them: idle, in a head, as sockets.

A right server gives one address at most half of them, and serves everybody else.
"""

from tests.hostile.clients import GONE, UPGRADE, Lane
from tests.hostile.scene import FILES, Scene

BEGINNINGS = (b"", b"GET / HT", UPGRADE, b"POST /v1/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")


def attack(scene: Scene) -> str:
    """More than there are."""
    lanes: list[Lane] = []
    for number in range(FILES + 200):
        try:
            lane = scene.dial(timeout=5)
            lane.write(BEGINNINGS[number % len(BEGINNINGS)])
            lanes.append(lane)
        except GONE:
            continue
    scene.rest(0.3, 10)
    count = len(lanes)
    for lane in lanes:
        lane.close()
    return f"{count:,} connections"
