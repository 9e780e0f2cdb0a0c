"""Bodies that are sent up to the last byte, and the last bytes one by one, so that no time-out ends them.

Large ones with a token, a mebibyte each without. A right server counts them by who sends them: the one who
fills the bound loses its own, and everybody else's requests with a body are served.
"""

from tests.hostile.clients import GONE, Lane, head
from tests.hostile.scene import Scene, text

MEBIBYTE = 1 << 20


def attack(scene: Scene) -> str:
    """Fill what there is for bodies, and hold it."""
    token = scene.login()
    large = scene.pick(20_000_000, 100_000_000)
    held = []
    for number in range(scene.pick(14, 8)):
        held.append(_held(scene, head("POST", "/v1/kv", token, large), large - 1000, number))
    for number in range(scene.pick(150, 600)):
        held.append(_held(scene, head("POST", "/v1/auth", None, MEBIBYTE), MEBIBYTE - 1000, number))
    lanes = [lane for lane in held if lane is not None]
    for _ in scene.until(0.5, 25):
        for lane in lanes[::5]:
            try:
                lane.write(b" ")
            except GONE:
                continue
        scene.rest(0.1, 0.5)
    for lane in lanes:
        lane.close()
    return f"{len(lanes)} of {len(held)} held"


def _held(scene: Scene, top: bytes, size: int, number: int) -> Lane | None:
    try:
        lane = scene.dial(timeout=3)
        lane.write(top + text(size).encode())
        return lane
    except GONE:
        return None
