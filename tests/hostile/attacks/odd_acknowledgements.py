"""Acknowledgements that nobody waits for, with ids of any size; binary events that are complete.

A right server ignores the ones, reads the others as any event, and answers ids as they came or not at all.
"""

from tests.hostile.clients import BINARY, GONE, Socket, frame
from tests.hostile.scene import Scene, swallow, text

IDS = (b"0", b"4294967296", b"9" * 300, b"-1", b"1e9", b"00000000001", b"9" * 100_000)


def attack(scene: Scene) -> str:
    """Every kind, from a few sockets of one account."""
    token, sent = scene.login(), [0]
    blob = frame(text(20_000).encode(), BINARY)
    kinds = [frame(b'43%s["x"]' % one) * 200 for one in IDS[:6]]
    kinds += [frame(b'42%s["ping",{}]' % one) * 200 for one in IDS[:6]]
    kinds += [frame(b"43" + IDS[6] + b"[]"), frame(b"42" + IDS[6] + b'["ping"]')]
    placeholders = b",".join(b'{"_placeholder":true,"num":%d}' % one for one in range(10))
    kinds += [(frame(b'4510-["ping",%s]' % placeholders) + blob * 10) * 5]
    kinds += [(frame(b"4610-1[%s]" % placeholders) + blob * 10) * 5]
    kinds += [(frame(b'451-%s["ping",{"_placeholder":true,"num":0}]' % IDS[2]) + blob) * 50]

    def flood(number: int) -> None:
        link: Socket | None = None
        for turn in scene.until(0.3, 10):
            try:
                if link is None:
                    link = scene.socket(token, timeout=5)
                    swallow(link)
                link.write(kinds[(number + turn) % len(kinds)])
                sent[0] += 1
            except GONE:
                link = None

    scene.together(6, flood)
    return f"{sent[0]:,} writes"
