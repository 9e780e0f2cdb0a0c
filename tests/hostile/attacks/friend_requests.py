"""More than a hundred accounts send friend requests to one victim, and take them back, as fast as they can.

A right server lets the victim's own messages in between: what others do to an account waits behind what it
does. And it lets a bystander's requests in between, who does not send as many.
"""

import time

from tests.hostile.scene import Misbehaved, Scene, composed


def attack(scene: Scene) -> str:
    """The victim is the innocent, whose every post is measured."""
    tokens = scene.crowd(scene.pick(12, 150), lambda _: scene.login())
    bystander = scene.login()
    answered: list[int] = []

    def pester(number: int) -> None:
        wishes = [
            composed("POST", f"/v1/friends/{what}", {"uid": scene.victim}, tokens[number % len(tokens)])
            for what in ("add", "remove")
        ]
        for _ in scene.until(0.45, 20):
            answered.extend(scene.pour(wishes * 5))

    def befriend(_: int) -> None:
        for number in scene.until(0.45, 20):
            begun = time.monotonic()
            what = ("add", "remove")[number % 2]
            statuses.append(scene.ask("POST", f"/v1/friends/{what}", {"uid": scene.victim}, bystander).status)
            waits.append(time.monotonic() - begun)
            scene.rest(0.1, 0.7)

    statuses: list[int] = []
    waits: list[float] = []
    scene.together(scene.pick(24, 150) + 1, lambda number: pester(number - 1) if number else befriend(0))
    if set(statuses) != {200}:
        raise Misbehaved(f"the bystander: {statuses}")
    slowest = round(1000 * max(waits))
    return f"{len(answered):,} requests, {answered.count(200):,} granted, bystander {slowest} ms"
