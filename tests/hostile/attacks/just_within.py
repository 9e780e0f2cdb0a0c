"""JSON that is just within the limits, to every endpoint and as every event: what fits is worked on.

Nearly as many values, levels, halves of characters and bytes as there may be, in members that are known and
in such as nobody declared. A right server takes no longer for what it accepts than for what it refuses.
"""

from collections.abc import Callable
from functools import partial

from tests.hostile.clients import GONE, event
from tests.hostile.doors import DOCUMENTS, Door, doors, events
from tests.hostile.scene import Misbehaved, Scene, swallow

VALUES = 19_900
DEEP = 118
MEMBERS = ("sid", "message", "params", "tokens", "data", "ids", "messages", "nobody-declared-this")


def repeated(item: bytes, values: int) -> bytes:
    """An array of items, each of so many values."""
    return b"[" + b",".join([item] * (VALUES // values)) + b"]"


def members() -> bytes:
    """An object with as many names as there may be."""
    return b"{" + b",".join(b'"a%d":1' % number for number in range(VALUES // 2)) + b"}"


FILLINGS: tuple[Callable[[], bytes], ...] = (
    partial(repeated, b"{}", 2),
    partial(repeated, b'"k"', 1),
    partial(repeated, b"1.7976931348623157e308", 1),
    partial(repeated, b"[" * DEEP + b"]" * DEEP, DEEP + 1),
    partial(repeated, b'{"content":"c","localId":"x"}', 6),
    partial(repeated, b'{"key":"k","value":"dg==","version":-1}', 8),
    members,
    lambda: b'"' + b"\\ud800" * VALUES + b'"',
    lambda: b'"' + b"\\u0041" * 160_000 + b'"',
    lambda: b'"' + "\U0001f600".encode() * 230_000 + b'"',
)


def attack(scene: Scene) -> str:
    """A different filling for each member of each endpoint, and as data of each event."""
    token, count = scene.login(), 0
    texts = [filling() for filling in FILLINGS]
    open_to = doors(scene.ask("GET", DOCUMENTS[0]).json())
    known = events(scene.ask("GET", DOCUMENTS[1]).json())
    link = scene.socket(token, timeout=5)
    swallow(link)
    for number in scene.until(0.45, 30):
        door, text = open_to[number % len(open_to)], texts[number % len(texts)]
        name = (*door.members, "a")[number // len(open_to) % (len(door.members) + 1)]
        body = b'{"%s":%s}' % (name.encode(), text)
        data = b'{"%s":%s}' % (MEMBERS[number % len(MEMBERS)].encode(), text)
        try:
            link.write(event(known[number % len(known)], data if number % 3 else text, number))
        except GONE:
            link = scene.socket(token, timeout=5)
            swallow(link)
        count += 1 + scene.together(2, partial(_post, scene, door, body, token))
    return f"{count} texts"


def _post(scene: Scene, door: Door, body: bytes, token: str, turn: int) -> int:
    answer = scene.ask(door.method, door.at(), body, token)
    if answer.status >= 500 and answer.status != 503:
        raise Misbehaved(f"{door.path}: {answer.status}")
    return answer.status
