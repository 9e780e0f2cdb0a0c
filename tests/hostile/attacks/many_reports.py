"""Tens of thousands of small usage reports, each under a key of its own, and their sums at the same time.

A right server's sums do not grow with the number of reports so that others wait for them.
"""

from tests.hostile.clients import event
from tests.hostile.scene import Scene, composed, swallow


def attack(scene: Scene) -> str:
    """Report on some sockets while asking on some connections."""
    token, sent = scene.login(), [0]
    wish = composed("POST", "/v1/usage/query", {"groupBy": "hour"}, token)

    def work(number: int) -> None:
        if number % 2:
            for _ in scene.until(0.45, 20):
                scene.pour([wish] * 5)
            return
        link = scene.socket(token, timeout=10)
        swallow(link)
        for turn in scene.until(0.45, 20):
            keys = range(turn * 100, turn * 100 + 100)
            link.write(b"".join(event("usage-report", _report(number, key), key) for key in keys))
            sent[0] += 100

    scene.together(8, work)
    return f"{sent[0]:,} reports"


def _report(number: int, key: int) -> dict[str, object]:
    return {"key": f"{number}-{key}", "tokens": {"total": 1, "a": 2, "b": 3}, "cost": {"total": 1}}
