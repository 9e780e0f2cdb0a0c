"""Upgrades with as many headers, extensions, protocols and parameters as a head has room for.

A right server takes little time for what it does not know, and answers an upgrade or a refusal.
"""

from tests.hostile.clients import END, GONE, UPGRADE
from tests.hostile.scene import Misbehaved, Scene

DEFLATE = b"permessage-deflate; client_max_window_bits=15; server_no_context_takeover"
OFFERS = (
    b"Sec-WebSocket-Extensions: " + b", ".join([DEFLATE] * 200),
    b"Sec-WebSocket-Extensions: permessage-deflate" + b"; client_max_window_bits" * 600,
    b"\r\n".join([b"Sec-WebSocket-Extensions: " + DEFLATE] * 150),
    b"Sec-WebSocket-Protocol: " + b", ".join(b"p%d" % one for one in range(2500)),
    b"\r\n".join(b"X-%d: a" % one for one in range(190)),
    b"Cookie: " + b"; ".join(b"c%d=1" % one for one in range(1500)),
    b"Sec-WebSocket-Extensions: " + b'x; y="' + b"\\" * 15_000,
)


def attack(scene: Scene) -> str:
    """Each of them, again and again."""
    count, head = 0, UPGRADE.removesuffix(END)
    for number in scene.until(0.3, 10):
        try:
            lane = scene.dial(timeout=5)
            lane.write(head + b"\r\n" + OFFERS[number % len(OFFERS)] + END)
            top = lane.line(END)
            lane.close()
        except GONE:
            continue
        if top.split(b" ")[1].startswith(b"5"):
            raise Misbehaved(f"offer {number % len(OFFERS)}: {top[:40]!r}")
        count += 1
    return f"{count:,} upgrades"
