"""Acknowledgements with stored values of many megabytes, which take more room as JSON, for who reads at once.

A right server writes them a portion at a time, with others in between, or says that they are too large.
"""

import base64
import json

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, text

ARTIFACT = "6f9619ff-8b86-4d01-b42d-00cf4fc964fe"


def attack(scene: Scene) -> str:
    """Ask for each of them, over and over."""
    token, size, asked = scene.login(), scene.pick(700_000, 12_000_000), 0
    blob = base64.b64encode(text(size * 3 // 4).encode()).decode()
    artifact = {"id": ARTIFACT, "header": "YQ==", "body": blob, "dataEncryptionKey": "YQ=="}
    scene.ask("POST", "/v1/artifacts", artifact, token)
    wishes = [event("artifact-read", {"artifactId": ARTIFACT}, 1)]
    for number, filling in enumerate(_fillings(size)[: scene.pick(2, 5)]):
        wish = json.dumps({"tag": f"{number}", "metadata": filling}, ensure_ascii=False).encode()
        answer = scene.ask("POST", "/v1/sessions", wish, token)
        if answer.status == 200:
            stale = {"sid": answer.json()["session"]["id"], "metadata": "m", "expectedVersion": 7}
            wishes.append(event("update-metadata", stale, 1))
    for number in scene.until(0.3, 20):
        link = scene.socket(token, timeout=10)
        try:
            link.write(wishes[number % len(wishes)])
            asked += link.until(b"431[").startswith(b"431[")
        except GONE:
            pass
        link.close()
    return f"{asked} acknowledgements"


def _fillings(size: int) -> tuple[str, ...]:
    """ASCII, what is six times as long when written, wide characters, and one that makes all others wide."""
    return (
        "a" * size,
        "\x01" * (size // 6),
        "\x01" * size,
        "\U0001f600" * (size // 4),
        "é" * size + "\U0001f600",
    )
