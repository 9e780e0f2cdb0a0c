"""Events of nearly a megabyte, as fast as ten sockets can send them: unknown, refused, and messages.

A right server reads them in turns with everybody else's, and keeps no more of them than one account's share.
"""

from tests.hostile.clients import event
from tests.hostile.scene import Scene, swallow, text


def attack(scene: Scene) -> str:
    """A socket for each kind."""
    token = scene.login()
    session, long = scene.session(token), text(900_000)
    kinds = [
        event("nobody-knows-this", long, 1),
        event("ping", {"a": long}, 1),
        event("message", {"sid": session, "message": long}),
        event("message", {"sid": "nobody", "message": long}),
        event("update-metadata", {"sid": session, "metadata": long, "expectedVersion": 0}, 1),
        event("machine-update-state", {"machineId": "x", "daemonState": long, "expectedVersion": 0}, 1),
        event("usage-report", {"key": "k", "tokens": {"total": 1, long: 1}, "cost": {"total": 1}}, 1),
        event("artifact-update", {"artifactId": "x", "body": {"data": long, "expectedVersion": 1}}, 1),
        event("rpc-call", {"method": "nobody", "params": long}, 1),
        event("rpc-register", {"method": "m", "surplus": long}),
    ]
    sent = [0]

    def flood(number: int) -> None:
        link = scene.socket(token, timeout=5)
        swallow(link)
        for _ in scene.until(0.3, 15):
            link.write(kinds[number % len(kinds)])
            sent[0] += 1

    scene.together(len(kinds), flood)
    return f"{sent[0]} events"
