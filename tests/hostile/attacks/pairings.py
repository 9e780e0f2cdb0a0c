"""Pairings that nobody completes, each asked about over and over; logins with keys of any kind.

A right server bounds them by address, and keeps a small row of each.
"""

import base64
import os

from tests.hostile.scene import Scene, composed, proof


def attack(scene: Scene) -> str:
    """As many as go through, from a few connections that do not wait."""

    def ask(number: int) -> int:
        answered = 0
        for _ in scene.until(0.3, 10):
            keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(20)]
            wishes = [composed("POST", "/v1/auth/request", {"publicKey": key}) for key in keys * 2]
            wishes += [composed("POST", "/v1/auth/account/request", {"publicKey": key}) for key in keys]
            wishes += [composed("POST", "/v1/auth", {**proof(), "signature": key * 2}) for key in keys]
            answered += len(scene.pour(wishes))
        return answered

    return f"{scene.together(scene.pick(2, 6), ask)} connections"
