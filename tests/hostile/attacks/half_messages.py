"""WebSocket messages that never end: frames with a length they do not keep, and fragments without a last one.

Large pieces, pieces of one byte, empty ones; before the login and after it. A right server counts what is
being put together, and what its parts cost beyond their length.
"""

from tests.hostile.clients import BINARY, CONTINUATION, GONE, TEXT, frame
from tests.hostile.scene import Scene

SIZE = 950_000


def _kinds() -> list[bytes]:
    whole = frame(b"4" + b"x" * SIZE)
    return [
        whole[:-5],
        frame(b"4", TEXT, final=False) + frame(b"x" * 9000, CONTINUATION, final=False) * (SIZE // 9000),
        frame(b"4", TEXT, final=False) + frame(b"x", CONTINUATION, final=False) * (SIZE // 8),
        frame(b"", BINARY, final=False) + frame(b"", CONTINUATION, final=False) * (SIZE // 6),
        bytes((0x81, 0xFF)) + (1 << 62).to_bytes(8, "big") + bytes(4) + b"x" * SIZE,
        bytes((0x81, 0xFF)) + (999_999).to_bytes(8, "big") + bytes(4) + b"x" * SIZE,
    ]


def attack(scene: Scene) -> str:
    """Sockets of every kind, kept open."""
    token, kinds, kept = scene.login(), _kinds(), []
    for number in range(scene.pick(36, 360)):
        try:
            link = scene.socket(token if number % 2 else None, timeout=2)
            kept.append(link)
            link.write(kinds[number % len(kinds)])
        except GONE:
            continue
    scene.rest(0.3, 3)
    return f"{len(kept)} sockets"
