"""Objects with a hundred thousand names, and values a megabyte long, at every endpoint that reads JSON.

Names that nobody declared, the same name again and again, texts of escapes, numbers with a million digits. A
right server bounds the number of values before it builds them, and never works longer on a number than on
its digits.
"""

from tests.hostile.doors import DOCUMENTS, Door, doors
from tests.hostile.fillings import LONG, WIDE, Filling
from tests.hostile.scene import Misbehaved, Scene

SIZE = 1_000_000


def attack(scene: Scene) -> str:
    """A different filling for each member of each endpoint."""
    token, count = scene.login(), 0
    fillings = [*LONG.values(), *WIDE.values()]
    open_to = doors(scene.ask("GET", DOCUMENTS[0]).json())
    for number in scene.until(0.45, 30):
        door = open_to[number % len(open_to)]
        filling = fillings[number % len(fillings)]
        count += scene.together(
            2, lambda turn, door=door, filling=filling: _post(scene, door, filling, token, turn)
        )
    return f"{count} bodies"


def _post(scene: Scene, door: Door, filling: Filling, token: str, turn: int) -> int:
    """One body: the filling as a member's value, or in the place of everything."""
    names = door.members or ("a",)
    text = filling(SIZE)
    body = b'{"%s":%s}' % (names[turn % len(names)].encode(), text) if turn else text
    answer = scene.ask(door.method, door.at(), body, token)
    if answer.status >= 500 and answer.status != 503:
        raise Misbehaved(f"{door.path}: {answer.status}")
    return answer.status
