"""One account has sockets with 33 MB of calls each to a method of its own that never answers.

Then come sockets with ever smaller calls, which fill what is left of any common bound. A right server lets
the account run into its own share: the sockets of others connect, work and stay.
"""

import json

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, swallow


def attack(scene: Scene) -> str:
    """Fill every common bound from the top."""
    token = scene.login()
    target = scene.socket(token)
    target.emit("rpc-register", {"method": "m"})
    target.until(b'42["rpc-registered"')
    swallow(target)
    big = [(995_000, scene.pick(20, 33))] * scene.pick(3, 10)
    kept = []
    for size, count in [*big, *((10**power, 40) for power in (5, 4, 3, 2, 1, 0))]:
        call = event("rpc-call", json.dumps({"method": "m", "params": "p" * size}).encode(), 1)
        try:
            link = scene.socket(token, timeout=5)
            kept.append(link)
            swallow(link)
            for _ in range(count):
                link.write(call)
        except GONE:
            continue
    scene.rest(0.3, 8)
    return f"{len(kept)} sockets"
