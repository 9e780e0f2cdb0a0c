"""JSON nested 100 to 300,000 deep at every entry: bodies, logins, events, binary events, acknowledgements.

A right server measures the depth before anything recurses, answers or closes that one connection, and writes
no traceback. No answer is 500 or above.
"""

from tests.hostile.clients import BINARY, GONE, frame
from tests.hostile.doors import DOCUMENTS, doors, events
from tests.hostile.fillings import DEEP, Filling
from tests.hostile.scene import Misbehaved, Scene

SIZES = (250, 700, 1500, 3000, 20_000, 900_000)


def attack(scene: Scene) -> str:
    """Every endpoint and event, with every kind of nesting."""
    token = scene.login()
    entrances = doors(scene.ask("GET", DOCUMENTS[0]).json())
    names = events(scene.ask("GET", DOCUMENTS[1]).json())
    nests = list(DEEP.values())
    count = 0
    for number in scene.until(0.45, 25):
        size, nest = SIZES[number % len(SIZES)], nests[number % len(nests)]
        door = entrances[number % len(entrances)]
        for body in (nest(size), b'{"%s":%s}' % (door.members[0].encode(), nest(size))):
            status = scene.ask(door.method, door.at(), body, token).status
            if status >= 500:
                raise Misbehaved(f"{door.path}, {size} bytes deep: {status}")
        for packets in _packets(names[number % len(names)].encode(), nest, size):
            for joined in (None, token):
                _send(scene, packets, joined)
                count += 1
    return f"{count} sockets"


def _packets(name: bytes, nest: Filling, size: int) -> list[bytes]:
    deep = nest(size)
    binary = b'451-["%s",{"_placeholder":true,"num":0},%s]' % (name, deep)
    return [
        frame(b'421["%s",%s]' % (name, deep)),
        frame(b'421["%s",{"sid":"x","data":%s}]' % (name, deep)),
        frame(binary) + frame(b"abc", BINARY),
        frame(b'40{"token":"x","a":%s}' % deep),
        frame(b"431[%s]" % deep),
        frame(b"42" + deep),
    ]


def _send(scene: Scene, packets: bytes, token: str | None) -> None:
    try:
        link = scene.socket(token, timeout=2)
        link.write(packets)
        if token is not None:
            link.write(frame(b'42999["ping"]'))
            link.plain.settimeout(0.2)
            link.until(b"43999")
        link.close()
    except GONE:
        return
