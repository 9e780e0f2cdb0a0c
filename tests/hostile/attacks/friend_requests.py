"""Dozens of accounts send friend requests to one victim, and take them back, as fast as they can.

A right server lets the victim's own messages in between: what others do to an account waits behind what it
does.
"""

from tests.hostile.scene import Scene, composed


def attack(scene: Scene) -> str:
    """The victim is the innocent, whose every post is measured."""
    tokens = scene.crowd(scene.pick(12, 50), lambda _: scene.login())
    answered: list[int] = []

    def pester(number: int) -> None:
        wishes = [
            composed("POST", f"/v1/friends/{what}", {"uid": scene.victim}, tokens[number % len(tokens)])
            for what in ("add", "remove")
        ]
        for _ in scene.until(0.45, 20):
            answered.extend(scene.pour(wishes * 5))

    scene.together(scene.pick(24, 150), pester)
    return f"{len(answered):,} requests, {answered.count(200):,} granted"
