"""Names, ids and keys of nearly a megabyte, wherever a client chooses one that the server keeps.

RPC methods, heartbeats of sessions and machines that do not exist, calls to unknown methods, keys of reports
and of artifacts, local ids. A right server gives each a length, or counts what it keeps of it.
"""

import json

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, swallow, text

SIZE = 990_000
KINDS = (
    ("rpc-register", {"method": "*"}),
    ("session-alive", {"sid": "*", "time": 1}),
    ("machine-alive", {"machineId": "*", "time": 1}),
    ("rpc-call", {"method": "*", "params": ""}),
    ("access-key-get", {"sessionId": "*", "machineId": "*"}),
    ("artifact-read", {"artifactId": "*"}),
    ("update-metadata", {"sid": "*", "metadata": "m", "expectedVersion": 0}),
    ("message", {"sid": "*", "message": "m", "localId": "*"}),
    ("rpc-unregister", {"method": "*"}),
)


def attack(scene: Scene) -> str:
    """Each kind from a socket of its own, again and again with other names."""
    token, count = scene.login(), 0
    links = scene.crowd(len(KINDS), lambda _: scene.socket(token, timeout=5))
    for link in links:
        swallow(link)
    long = text(SIZE)
    for number in scene.until(0.45, 30):
        name, data = KINDS[number % len(KINDS)]
        body = json.dumps(data).replace("*", f"{number}{long}"[: SIZE // json.dumps(data).count("*")])
        try:
            links[number % len(KINDS)].write(event(name, body.encode(), 1))
            count += 1
        except (*GONE, IndexError):
            continue
    return f"{count} names"
