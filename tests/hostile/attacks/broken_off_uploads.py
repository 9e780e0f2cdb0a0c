"""Bodies that break off half-way: posts, attachments, polling bodies, with a length and in chunks.

A right server lets go of what it had of each when its connection ends.
"""

from tests.hostile.clients import GONE, POLLING, head
from tests.hostile.scene import Scene, text

CHUNKED = "Transfer-Encoding: chunked"


def attack(scene: Scene) -> str:
    """Send most of each body and reset."""
    token = scene.login()
    session = scene.session(token)
    sid = scene.polling()
    size = scene.pick(2_000_000, 10_000_000)
    half = text(size - 1000).encode()
    heads = [
        (head("POST", f"/v3/sessions/{session}/messages", token, size), half),
        (head("PUT", f"/v1/sessions/{session}/attachments/a.enc", token, size), half),
        (head("POST", "/v1/kv", token, None, CHUNKED), b"%x\r\n%s" % (size, half)),
        (head("POST", "/v1/auth", None, 1 << 20), half[: 1 << 20][:-9]),
        (head("POST", f"{POLLING}&sid={sid}", None, 900_000), half[:890_000]),
        (head("POST", "/v1/auth", None, None, CHUNKED), b"fff0\r\n%s" % half[:0xFFF0]),
    ]
    count = 0
    for number in range(scene.pick(18, 90)):
        top, body = heads[number % len(heads)]
        try:
            lane = scene.dial(timeout=5)
            lane.write(top + body)
            lane.reset()
            count += 1
        except GONE:
            continue
    return f"{count} broken off"
