"""Lists and pages that are as large as an account can make them, asked for by clients that read them at once.

A right server makes an answer in pieces, or refuses one that is larger than an account's share.
"""

from tests.hostile.clients import GONE
from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Fill every list, and ask for each at the same time."""
    token = scene.login()
    session = scene.session(token)
    count, size = scene.pick(8, 60), scene.pick(500_000, 4_000_000)
    blob = "YWFh" * (size // 4)
    path = f"/v3/sessions/{session}/messages"
    for number in range(count):
        items = [{"content": text(size // 10), "localId": f"{number}-{one}"} for one in range(10)]
        scene.ask("POST", path, {"messages": items}, token)
        scene.session(token, tag=f"{number}", metadata=text(size))
        value = {"key": f"k{number}", "value": blob, "version": -1}
        scene.ask("POST", "/v1/kv", {"mutations": [value]}, token)
    wishes = (
        f"{path}?limit=500",
        "/v1/kv?limit=1000",
        "/v1/sessions",
        "/v2/sessions?limit=200",
        f"/v1/sessions/{session}/messages",
    )

    def read(number: int) -> int:
        lane = scene.dial(timeout=30)
        lane.write(f"GET {wishes[number % 5]} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        try:
            return lane.drain()
        except GONE:
            return 0

    got: list[int] = []
    scene.together(scene.pick(5, 15), lambda number: got.append(read(number)))
    return f"{sum(got) / 1e6:.0f} MB read of lists of {count * size / 1e6:.0f} MB"
