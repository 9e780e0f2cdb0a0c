"""Deep and unfinished JSON in polling bodies, plain and binary.

A right server answers each POST, and writes no traceback.
"""

from tests.hostile.fillings import DEEP, unfinished
from tests.hostile.scene import Misbehaved, Scene

SIZES = (300, 700, 1500, 3000, 100_000, 900_000)
STARTS = (b'42["a",', b'40{"token":', b'451-["x",{"_placeholder":true,"num":0},', b"431[", b"42", b"4", b"b")


def attack(scene: Scene) -> str:
    """Every beginning of a packet before every kind of nesting."""
    nests = [*DEEP.values(), unfinished]
    for number in scene.until(0.3, 15):
        deep = nests[number % len(nests)](SIZES[number % len(SIZES)])
        body = STARTS[number % len(STARTS)] + deep + b"]" * (number % 3) + b"\x1ebAAAA"
        status = scene.post(scene.polling(), body).status
        if status >= 500:
            raise Misbehaved(f"{body[:20]!r}: {status}")
    return f"{number} bodies"
