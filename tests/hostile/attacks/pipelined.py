"""Thousands of requests in one go, and addresses and header lines without an end; half of it is never read.

A right server answers a few at a time, in turn with others, refuses the rest after 16 KiB, and says nothing
in its log.
"""

from tests.hostile.clients import END, GONE, head
from tests.hostile.scene import Scene

MANY = head("GET", "/v1/nothing")
ENDLESS = (
    b"GET /" + b"a" * 65_536 + b" HTTP/1.1" + END,
    b"GET /?" + b"a=" * 32_768 + b" HTTP/1.1" + END,
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + END,
    b"GET / HTTP/1.1\r\nHost: " + b"x" * 1_000_000 + END,
    b"x" * 1_000_000,
)


def attack(scene: Scene) -> str:
    """Half of the connections read what is answered, the others do not."""
    count, sent = scene.pick(2_000, 20_000), [0]

    def pour(number: int) -> None:
        for turn in scene.until(0.3, 12):
            if number < 2:
                sent[0] += len(scene.pour([MANY] * count if turn % 2 == number else [ENDLESS[turn % 5]]))
                continue
            try:
                lane = scene.dial(timeout=2)
                lane.write(MANY * count)
                lane.reset()
            except GONE:
                continue

    scene.together(4, pour)
    return f"{sent[0]:,} answers"
