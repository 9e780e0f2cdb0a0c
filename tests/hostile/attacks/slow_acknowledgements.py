"""Events whose acknowledgements are large, sent a thousand times by sockets that read none of them.

A right server counts queued acknowledgements like anything else that is unsent, across the sockets of an
account.
"""

import base64

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, text

ARTIFACT = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


def attack(scene: Scene) -> str:
    """Read a large artifact again and again without reading the answers."""
    token = scene.login()
    blob = base64.b64encode(text(scene.pick(1_000_000, 5_000_000)).encode()).decode()
    artifact = {"id": ARTIFACT, "header": "YQ==", "body": blob, "dataEncryptionKey": "YQ=="}
    scene.ask("POST", "/v1/artifacts", artifact, token)
    wish = b"".join(event("artifact-read", {"artifactId": ARTIFACT}, number) for number in range(100))
    links = scene.crowd(scene.pick(8, 60), lambda _: scene.socket(token, receive_buffer=4096, timeout=2))
    for link in links * scene.pick(1, 5):
        try:
            link.write(wish)
        except GONE:
            continue
    scene.rest(0.45, 10)
    for link in links:
        link.close()
    return f"{len(links)} sockets"
