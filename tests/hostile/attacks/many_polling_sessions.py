"""Polling sessions by the ten thousand over one connection, and over many, none of which is ever used.

A right server gives one address at most half of the sessions on polling: others still get one.
"""

from tests.hostile.clients import POLLING, request
from tests.hostile.scene import Scene


def attack(scene: Scene) -> str:
    """Open them as fast as possible."""
    statuses: list[int] = []

    def open_many(_: int) -> None:
        for _ in range(scene.pick(4, 28)):
            statuses.extend(scene.pour([request("GET", POLLING)] * 200))

    scene.together(scene.pick(2, 4), open_many)
    return f"{statuses.count(200):,} opened, {len(statuses) - statuses.count(200):,} refused"
