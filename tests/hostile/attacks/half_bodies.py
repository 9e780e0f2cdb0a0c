"""Bodies that are sent but for the last bytes, and of those one now and then, so that no time-out ends them.

From the largest that an account may send to a few bytes, so that whatever there is for bodies is full to the
brim. A right server counts them by who sends them: the one who fills the bound loses its own, and everybody
else's requests with a body are served.
"""

from tests.hostile.clients import GONE, Lane, head
from tests.hostile.scene import Scene, text

SIZES = (1 << 20, 1 << 16, 1 << 12, 1 << 8, 1 << 4, 2)


def attack(scene: Scene) -> str:
    """Fill what there is for bodies, and hold it."""
    token = scene.login()
    held = []
    for _ in range(scene.pick(3, 8)):
        held.append(_held(scene, token, scene.pick(20_000_000, 100_000_000)))
    for size in SIZES:
        for number in range(scene.pick(25, 60)):
            held.append(_held(scene, token if number % 2 else None, size))
    lanes = [lane for lane in held if lane is not None]
    for _ in scene.until(0.3, 25):
        for lane in lanes[:40]:
            try:
                lane.write(b" ")
            except GONE:
                continue
        scene.rest(0.1, 0.5)
    for lane in lanes:
        lane.close()
    return f"{len(lanes)} of {len(held)} held"


def _held(scene: Scene, token: str | None, size: int) -> Lane | None:
    path = "/v1/kv" if token else "/v1/auth"
    try:
        lane = scene.dial(timeout=3)
        lane.write(head("POST", path, token, size) + text(size - min(size // 2, 1000)).encode())
        return lane
    except GONE:
        return None
