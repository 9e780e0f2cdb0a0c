"""Logins with good and bad signatures, and requests with good and bad tokens, as fast as one address can.

A right server spends little on each, keeps nothing of those that fail, and limits an address.
"""

from tests.hostile.clients import head
from tests.hostile.scene import Misbehaved, Scene, composed, text


def attack(scene: Scene) -> str:
    """Over several connections at once."""
    token = scene.login()
    proof = {"publicKey": "A" * 43 + "=", "challenge": "A" * 43 + "=", "signature": "A" * 86 + "=="}
    statuses: list[int] = []

    def flood(number: int) -> None:
        for turn in scene.until(0.35, 15):
            wishes = [
                composed("POST", "/v1/auth", proof),
                composed("POST", "/v1/auth", {**proof, "challenge": text(500_000)}),
                head("GET", "/v1/account/profile", f"{token[:-4]}{turn:04d}"),
                head("GET", "/v1/account/profile", text(8000)),
                head("GET", "/v1/account/profile", f"{turn}.{number}.x"),
            ]
            statuses.extend(scene.pour(wishes * 4))

    scene.together(4, flood)
    if any(status >= 500 for status in statuses):
        raise Misbehaved(f"logins: {sorted(set(statuses))}")
    return f"{len(statuses):,} requests"
