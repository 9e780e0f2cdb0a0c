"""Polling bodies of a megabyte that hold hundreds of thousands of packets, before a login and after it.

A right server does not work through them in one go, or at all: it serves others in between, ends the session
at the first that may not be, or refuses a body of far more packets than any real client's.
"""

from tests.hostile.scene import Misbehaved, Scene

SIZE = 1_000_000
PACKETS = (
    b"40/a,",
    b"2",
    b"3",
    b"6",
    b"4",
    b"",
    b'42["ping",{}]',
    b'421["ping",{}]',
    b"431[]",
    b"41",
    b"bAA==",
    b"40",
)


def attack(scene: Scene) -> str:
    """Each kind of packet, as many as fit."""
    token = scene.login()
    count = 0
    for joined in (False, True):
        for _ in scene.until(0.3, 20):
            packet = PACKETS[count % len(PACKETS)]
            sid = scene.polling()
            if joined:
                scene.post(sid, b'40{"token":"%s"}' % token.encode())
            body = b"\x1e".join([packet] * (SIZE // (len(packet) + 1)))
            status = scene.post(sid, body).status
            if status >= 500:
                raise Misbehaved(f"{packet!r} many times: {status}")
            count += 1
    return f"{count} bodies"
