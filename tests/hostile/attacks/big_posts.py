"""Posts of messages as large as an account may send, several at once, and artifacts and values of that size.

A right server stores them in pieces that do not keep the messages of others waiting.
"""

import json

from tests.hostile.scene import Scene, text


def attack(scene: Scene) -> str:
    """Four at a time, over and over."""
    token = scene.login()
    session = scene.session(token)
    size, count = scene.pick(8_000_000, 60_000_000), 0
    for turn in range(scene.pick(1, 3)):
        bodies = _bodies(session, size, turn)

        def post(number: int, bodies: list[tuple[str, bytes]] = bodies) -> int:
            path, body = bodies[number]
            return scene.ask("POST", path, body, token).status

        count += scene.together(len(bodies), post)
    return f"{count} posts of {size / 1e6:.0f} MB"


def _bodies(session: str, size: int, turn: int) -> list[tuple[str, bytes]]:
    content = text(size // 100)
    messages = [
        {"messages": [{"content": content, "localId": f"{half}-{turn}-{one}"} for one in range(99)]}
        for half in range(2)
    ]
    value = {"key": f"k{turn}", "value": "YWFh" * (size // 4), "version": -1}
    settings = {"settings": content * 99, "expectedVersion": turn}
    return [
        (f"/v3/sessions/{session}/messages", json.dumps(messages[0]).encode()),
        (f"/v3/sessions/{session}/messages", json.dumps(messages[1]).encode()),
        ("/v1/kv", json.dumps({"mutations": [value]}).encode()),
        ("/v1/account/settings", json.dumps(settings).encode()),
    ]
