"""Dozens of accounts from one address, each of which does what one may: sockets, events, writes, lists.

A right server shares by account what is an account's, lets each have little when there are many, and serves
another address in between.
"""

from tests.hostile.clients import GONE, event, request
from tests.hostile.scene import Scene, composed, swallow, text


def attack(scene: Scene) -> str:
    """All at once, each a little."""
    tokens = scene.crowd(scene.pick(10, 30), lambda _: scene.login())
    links, sent = [], 0
    for token in tokens:
        try:
            link = scene.socket(token, timeout=5)
            swallow(link)
            links.append((token, link, scene.session(token)))
        except GONE:
            continue
    for number in scene.until(0.4, 12):
        token, link, session = links[number % len(links)]
        many = [event("message", {"sid": session, "message": text(500)}, one) for one in range(20)]
        many += [
            event("session-alive", {"sid": session, "time": number}),
            event("rpc-register", {"method": "m"}),
        ]
        many += [event("rpc-call", {"method": "m", "params": text(500)}, one) for one in range(100, 105)]
        mutation = {"key": f"k{number}", "value": text(1000), "version": -1}
        try:
            link.write(b"".join(many))
            lane = scene.dial(timeout=5)
            lane.write(composed("POST", "/v1/kv", {"mutations": [mutation]}, token))
            lane.write(request("GET", "/v1/sessions", token=token) * 3)
            lane.close()
        except GONE:
            continue
        sent += len(many) + 4
    for _, link, _ in links:
        link.close()
    return f"{len(links)} accounts, {sent:,} events and requests"
