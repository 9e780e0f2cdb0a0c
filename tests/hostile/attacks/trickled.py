"""Heads, bodies and frames that come byte by byte, over hundreds of connections.

A right server has a deadline for a head and for a login, and works no longer on a byte than on a byte.
"""

from tests.hostile.clients import GONE, UPGRADE, frame, head
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Trickle everything at the same time."""
    token = scene.login()
    long = text(14_000).encode()
    pieces = [
        head("GET", "/v1/sessions", token, None, f"X-A: {text(15_000)}"),
        head("POST", "/v3/sessions/x/messages", token, 1_000_000) + b'{"messages":[' + long,
        UPGRADE,
        UPGRADE + frame(b"40" + long),
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000,
        head("POST", "/v1/auth", None, None, "Transfer-Encoding: chunked") + b"1\r\n{\r\n" * 2000,
    ]
    lanes = scene.crowd(scene.pick(120, 1200), lambda _: scene.dial(timeout=1))
    sent = 0
    for turn in scene.until(0.3, 25):
        for number, lane in enumerate(lanes):
            data = pieces[number % len(pieces)]
            try:
                lane.write(data[turn % len(data) : turn % len(data) + 1])
                sent += 1
            except GONE:
                continue
    for lane in lanes:
        lane.close()
    return f"{sent:,} bytes in as many pieces"
