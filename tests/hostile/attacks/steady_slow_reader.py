"""A slow reader that always makes progress, for longer than a reader that makes none is given.

It is no attacker at all: a right server serves it to the end. In the short form it reads for a moment only.
"""

from tests.hostile.clients import GONE, request
from tests.hostile.scene import Misbehaved, Scene, text

SECONDS = 90
PER_SECOND = 10


def attack(scene: Scene) -> str:
    """Read a list at a steady rate, from a buffer so small that the server sees it."""
    token = scene.login()
    size = scene.pick(1_000_000, 12_000_000)
    scene.session(token, metadata=text(size))
    lane = scene.dial(receive_buffer=4096, timeout=20)
    lane.write(request("GET", "/v1/sessions", token=token))
    piece = size // (PER_SECOND * scene.pick(1, SECONDS))
    got = 0
    while got < size:
        try:
            data = lane.plain.recv(piece)
        except GONE as error:
            raise Misbehaved(f"cut after {got:,} of {size:,} bytes: {error}") from None
        if not data:
            raise Misbehaved(f"closed after {got:,} of {size:,} bytes")
        got += len(data)
        if got % piece < len(data):
            scene.rest(0.02, 1 / PER_SECOND * len(data) / piece)
    lane.close()
    return f"{got:,} bytes read"
