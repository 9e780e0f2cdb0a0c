"""Logins on sockets with a megabyte in every member, into namespaces of any name, as clients that come back.

A right server reads little before it knows whom it talks to, and keeps nothing of those that it refuses.
"""

import json

from tests.hostile.clients import GONE, frame
from tests.hostile.scene import Scene, text

SIZE = 900_000


def attack(scene: Scene) -> str:
    """Every kind of wrong and of large login."""
    token, long = scene.login(), text(SIZE)
    logins = [
        {"token": long},
        {"token": token, "clientType": long},
        {"token": token, "clientType": "session-scoped", "sessionId": long},
        {"token": token, "clientType": "machine-scoped", "machineId": long},
        {"token": token, "happyClient": long},
        {"token": token, "pid": long, "offset": long[:9]},
        {"token": token, "pid": "x", "offset": long},
        {"token": f"{token}x"},
        {"token": token, "more": [0] * 300_000},
        {"token": [token] * 1000},
    ]
    packets = [frame(b"40" + json.dumps(login).encode()) for login in logins]
    packets += [frame(b"40/" + long.encode()), frame(b"40/" + long.encode() + b',{"token":"x"}')]
    count = 0
    for number in scene.until(0.3, 20):
        try:
            link = scene.socket(timeout=2)
            link.write(packets[number % len(packets)])
            link.until(b"4")
            link.close()
        except GONE:
            pass
        count += 1
    return f"{count} logins"
