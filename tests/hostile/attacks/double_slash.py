"""An address that was given with a slash at its end: requests to ``//v1/...``.

No attacker either: a right server understands it as ``/v1/...``.
"""

from tests.hostile.clients import head
from tests.hostile.scene import Misbehaved, Scene


def attack(scene: Scene) -> str:
    """Some requests and a polling session."""
    token = scene.login()
    paths = ("//v1/sessions", "//v1/account/profile", "//v1/updates/?EIO=4&transport=polling", "//health")
    statuses = scene.pour([head("GET", path, token) for path in paths])
    if statuses != [200] * len(paths):
        raise Misbehaved(f"{dict(zip(paths, statuses, strict=False))}")
    return f"{len(paths)} requests"
