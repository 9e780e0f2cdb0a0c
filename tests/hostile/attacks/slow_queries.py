"""Usage reports of 60,000 names each, and their sums, asked for many times at once; searches, prefixes.

A right server bounds what one account can keep its database busy with.
"""

from tests.hostile.clients import GONE, request
from tests.hostile.scene import Scene, composed


def attack(scene: Scene) -> str:
    """Store as much as is taken, then ask."""
    token = scene.login()
    taken = sum(_stored(scene, token, number) for number in range(scene.pick(3, 16)))
    wishes = [
        composed("POST", "/v1/usage/query", {}, token),
        composed("POST", "/v1/usage/query", {"groupBy": "hour"}, token),
        request("GET", "/v1/user/search?query=a", token=token),
        request("GET", "/v1/kv?prefix=%25&limit=1000", token=token),
    ]
    done = scene.together(scene.pick(8, 24), lambda number: scene.pour([wishes[number % len(wishes)]] * 3))
    return f"{taken} reports taken, {done} connections served"


def _stored(scene: Scene, token: str, number: int) -> bool:
    names = {f"n{one}": one for one in range(60_000)} | {"total": 1}
    report = {"key": f"k{number}", "tokens": names, "cost": {"total": 1}}
    try:
        link = scene.socket(token, timeout=20)
        answer = link.call("usage-report", report)
        link.close()
    except GONE:
        return False
    return bool(answer.get("success"))
