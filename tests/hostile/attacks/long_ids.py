"""Ids in paths, queries and headers as long as a request line takes, no two the same, and unknown paths.

A right server keeps none of them: not as labels of its metrics, not in a cache of addresses or tokens.
"""

from tests.hostile.clients import head
from tests.hostile.scene import Misbehaved, Scene, text


def attack(scene: Scene) -> str:
    """Requests with long names at every place, poured over a few connections."""
    token, long, count = scene.login(), text(12_000), 0
    for number in scene.until(0.35, 20):
        name = f"{number}{long}"
        requests = [
            head("GET", f"/v1/sessions/{name}/messages", token),
            head("GET", f"/{name}"),
            head("GET", f"/v1/kv?prefix={name}", token),
            head("GET", "/", None, None, f"X-Happy-Client: cli/{name}"),
            head("GET", "/", None, None, f"X-Happy-Client: {number}/1.0"),
            head("GET", "/v1/sessions", f"{number}.{name}.x"),
            head("GET", f"/v1/access-keys/{name[:6000]}/{name[:6000]}", token),
            head("GET", f"/v1/user/search?query={name[:100]}", token),
            head(f"M{number}", "/"),
            head("GET", f"/v1/updates/?EIO=4&transport=polling&sid={name}"),
        ]
        statuses = scene.pour(requests)
        if max(statuses, default=0) >= 500 and max(statuses) != 501:
            raise Misbehaved(f"long ids: {statuses}")
        count += len(statuses)
    return f"{count} requests"
