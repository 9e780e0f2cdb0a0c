"""Heartbeats, calls and registrations with tens of thousands of different short names from one account.

A right server bounds its caches by number, and one account's part of them.
"""

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, swallow


def attack(scene: Scene) -> str:
    """A socket for each kind, all names different."""
    token, count = scene.login(), 0
    kinds = (
        ("session-alive", b'{"sid":"s%d","time":1,"thinking":false}'),
        ("machine-alive", b'{"machineId":"m%d","time":1}'),
        ("rpc-register", b'{"method":"r%d"}'),
        ("rpc-call", b'{"method":"c%d","params":"x"}'),
        ("session-end", b'{"sid":"s%d","time":1}'),
    )
    links = scene.crowd(len(kinds), lambda _: scene.socket(token, timeout=5))
    for link in links:
        swallow(link)
    for number in scene.until(0.35, 20):
        for link, (name, form) in zip(links, kinds, strict=False):
            first = number * 500
            try:
                link.write(b"".join(event(name, form % one, one) for one in range(first, first + 500)))
                count += 500
            except GONE:
                continue
    return f"{count:,} names"
