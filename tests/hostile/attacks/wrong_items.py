"""Lists of far more items than may be sent, of every kind, to every endpoint that takes a list.

First without a token, where nothing but a mebibyte may come, then with one, where the endpoint takes more. A
right server refuses whom it does not know before it looks at the items, and stops at the first of what is
wrong.
"""

from tests.hostile.doors import DOCUMENTS, Door, doors
from tests.hostile.fillings import WIDE, Filling
from tests.hostile.scene import Misbehaved, Scene

FREE = 1 << 20
LARGEST_ANSWER = 65_536


def attack(scene: Scene) -> str:
    """Eleven at a time without a token, then three large ones with one."""
    lists = [door for door in doors(scene.ask("GET", DOCUMENTS[0]).json()) if door.lists]
    token, count = scene.login(), 0
    for _ in scene.until(0.35, 30):
        for door in lists:
            filling = list(WIDE.values())[count % len(WIDE)]
            _post(scene, door, filling, None, FREE - 100, scene.pick(4, 11))
            size = min(door.largest, scene.pick(2_000_000, 10_000_000)) - 100
            _post(scene, door, filling, token, size, scene.pick(1, 3))
            count += 1
    return f"{count} kinds"


def _post(scene: Scene, door: Door, filling: Filling, token: str | None, size: int, times: int) -> None:
    body = b'{"%s":%s}' % (door.lists[0].encode(), filling(size))

    def one(_: int) -> int:
        answer = scene.ask(door.method, door.at(), body, token)
        if answer.status >= 500 and answer.status != 503:
            raise Misbehaved(f"{door.path}: {answer.status}")
        if len(answer.body) > LARGEST_ANSWER:
            raise Misbehaved(f"{door.path}: {len(answer.body):,} bytes back")
        return answer.status

    scene.together(times, one)
