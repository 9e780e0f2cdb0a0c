"""Push events with a megabyte of data, from an account with as many devices as it may have.

A right server bounds what it would send to the push service, however many devices there are.
"""

from tests.hostile.fillings import WIDE
from tests.hostile.scene import Scene, composed, text


def attack(scene: Scene) -> str:
    """Register devices, then notify them all, several times at once."""
    token = scene.login()
    session = scene.session(token)
    wishes = [
        composed("POST", "/v1/push-tokens", {"token": f"ExponentPushToken[{number}]"}, token)
        for number in range(scene.pick(200, 1000))
    ]
    scene.pour(wishes)
    path = f"/v1/sessions/{session}/push-event"
    start = b'{"kind":"done","title":"t","body":"b","data":{"a":'
    bodies = [b'"%s"' % text(990_000).encode(), *(filling(900_000) for filling in WIDE.values())]

    def push(number: int) -> int:
        body = start + bodies[number % len(bodies)] + b"}}"
        return scene.ask("POST", path, body, token).status

    done = scene.together(scene.pick(2, 12), push)
    return f"{len(wishes)} devices, {done} answers"
