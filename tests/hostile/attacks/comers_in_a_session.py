"""Clients that join and leave within one connection, in many namespaces, by polling and by WebSocket.

With logins that are right, wrong and large. A right server counts each as a login, tells nobody else of it in
a way that costs more than the login, and keeps nothing of those that left.
"""

import json

from tests.hostile.clients import GONE, frame
from tests.hostile.scene import Scene, swallow, text


def attack(scene: Scene) -> str:
    """As fast as it goes, from a few connections of each kind."""
    token, count = scene.login(), [0]
    machine = {"token": token, "clientType": "machine-scoped", "machineId": "m"}
    logins = [json.dumps(login).encode() for login in ({"token": token}, machine, {"token": text(2000)})]
    packets = [packet for login in logins for packet in (b"40" + login, b"41", b"40/n," + login, b"41/n,")]

    def come_and_go(number: int) -> None:
        link = scene.socket(timeout=5) if number % 2 else None
        if link is not None:
            swallow(link)
        for _ in scene.until(0.3, 10):
            if link is not None:
                link.write(b"".join(map(frame, packets)) * 20)
            else:
                sid = scene.polling()
                scene.post(sid, b"\x1e".join(packets * 10))
                scene.post(sid, b"1")
            count[0] += len(packets)

    def quietly(number: int) -> None:
        for _ in scene.until(0.3, 10):
            try:
                come_and_go(number)
            except GONE:
                continue

    scene.together(scene.pick(4, 8), quietly)
    return f"{count[0]:,} packets"
