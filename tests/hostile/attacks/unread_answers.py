"""Ten thousand requests on one connection whose answers are not read, and pings of both layers likewise.

A right server stops reading from whom it cannot write to, or cuts it off.
"""

from tests.hostile.clients import PING, event, frame, request
from tests.hostile.scene import Scene


def attack(scene: Scene) -> str:
    """Write as long as the server reads."""
    token = scene.login()
    pieces = [
        request("GET", "/.well-known/happy/openapi.json") * 500,
        request("GET", "/v1/sessions", token=token) * 2000,
        request("POST", "/v1/auth", b"{}") * 2000,
        request("GET", "/nowhere") * 2000,
    ]
    packets = [
        frame(b"x" * 125, PING) * 5000,
        event("ping", {}, 1) * 5000,
        frame(b"40/a," + b"x" * 900) * 900,
    ]
    lanes = [scene.dial(receive_buffer=4096, timeout=1) for _ in pieces]
    links = [scene.socket(token, receive_buffer=4096, timeout=1) for _ in packets]
    sent = [0]

    def write(number: int) -> None:
        lane, data = ([*lanes, *links][number], [*pieces, *packets][number])
        for _ in scene.until(0.3, 15):
            lane.write(data)
            sent[0] += len(data)

    scene.together(len(lanes) + len(links), write)
    for lane in [*lanes, *links]:
        lane.reset()
    return f"{sent[0] / 1e6:.0f} MB taken"
