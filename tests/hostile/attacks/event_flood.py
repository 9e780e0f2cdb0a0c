"""One account sends ten thousand events of each kind at once, those that write and those that run one by one.

A right server bounds the events of a socket and of an account that are under way, and lets others in between.
"""

from tests.hostile.clients import event
from tests.hostile.scene import Scene, swallow, text


def attack(scene: Scene) -> str:
    """A socket for each kind of event."""
    token = scene.login()
    session = scene.session(token)
    kinds = (
        ("usage-report", {"key": "k", "tokens": {"total": 1}, "cost": {"total": 1}}),
        ("update-metadata", {"sid": session, "metadata": text(1000), "expectedVersion": 0}),
        ("update-state", {"sid": session, "agentState": text(1000), "expectedVersion": 0}),
        ("message", {"sid": session, "message": text(1000)}),
        ("artifact-create", {"id": "x", "header": "YQ==", "body": "YQ==", "dataEncryptionKey": "YQ=="}),
        ("access-key-get", {"sessionId": session, "machineId": "m"}),
        ("session-end", {"sid": session, "time": 1}),
        ("ping", {}),
    )
    sent = [0]

    def flood(number: int) -> None:
        name, data = kinds[number % len(kinds)]
        link = scene.socket(token, timeout=5)
        swallow(link)
        many = b"".join(event(name, data, one) for one in range(250))
        for _ in scene.until(0.3, 15):
            link.write(many)
            sent[0] += 250

    scene.together(scene.pick(len(kinds), 4 * len(kinds)), flood)
    return f"{sent[0]:,} events"
