"""Calls of methods that nobody has, which wait for somebody to come, from many sockets of one account.

And one method that all of those sockets register and give up again, in turns. A right server bounds what
waits, and wakes nobody who has nothing to do.
"""

from tests.hostile.clients import GONE, Socket, event
from tests.hostile.scene import Scene, swallow


def attack(scene: Scene) -> str:
    """Fill the waiting rooms, and keep everybody awake."""
    token, sent = scene.login(), 0
    links: list[Socket] = scene.crowd(scene.pick(20, 120), lambda _: scene.socket(token, timeout=5))
    for link in links:
        swallow(link)
    params = "p" * 3000
    for number in scene.until(0.3, 20):
        link = links[number % len(links)]
        calls = [event("rpc-call", {"method": f"m{one}", "params": params}, one) for one in range(100)]
        turns = event("rpc-register", {"method": "m"}) + event("rpc-unregister", {"method": "m"})
        try:
            link.write(b"".join(calls) + turns * 50)
            sent += 200
        except GONE:
            continue
    for link in links:
        link.close()
    return f"{sent:,} events"
