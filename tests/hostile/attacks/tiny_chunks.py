"""Bodies of a mebibyte in chunks of one byte each, with extensions and without, to endpoints of every kind.

A right server puts them together in slices: what comes in one read is never worked through for long.
"""

from tests.hostile.clients import GONE, POLLING, head
from tests.hostile.scene import Scene

SIZE = 1_000_000
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = (b"1\r\n \r\n", b"1;a=b\r\n \r\n", b"00000001\r\n \r\n", b"1;" + b"x" * 60 + b"\r\n \r\n")


def attack(scene: Scene) -> str:
    """Over several connections at once, as fast as they are read."""
    token, sent = scene.login(), [0]
    heads = [
        head("POST", "/v3/sessions/x/messages", token, None, CHUNKED, "Content-Type: application/json"),
        head("POST", "/v1/auth", None, None, CHUNKED, "Content-Type: application/json"),
        head("PUT", "/v1/sessions/x/attachments/a.enc", token, None, CHUNKED),
        head("POST", f"{POLLING}&sid=x", None, None, CHUNKED),
    ]

    def pour(number: int) -> None:
        for turn in scene.until(0.3, 15):
            chunk = CHUNKS[(number + turn) % len(CHUNKS)]
            try:
                lane = scene.dial(timeout=5)
                lane.write(heads[number % len(heads)] + chunk * (SIZE // len(chunk)))
                sent[0] += SIZE
                lane.reset()
            except GONE:
                continue

    scene.together(4, pour)
    return f"{sent[0] / 1e6:.0f} MB"
