"""One account asks for thousands of transactions at once, over hundreds of connections.

Writes that stand in line for the account, and reads that take a database connection each. A right server
gives one account at most half of the places: nobody else is refused, and the database is shared out.
"""

from tests.hostile.clients import request
from tests.hostile.scene import Scene, composed


def attack(scene: Scene) -> str:
    """Pour requests over many connections, again and again."""
    token = scene.login()
    session = scene.session(token)
    kinds = [
        composed("POST", "/v1/kv", {"mutations": [{"key": "k", "value": "YQ==", "version": 0}]}, token),
        composed("POST", "/v1/sessions", {"tag": "t", "metadata": "m"}, token),
        composed("POST", f"/v1/sessions/{session}/archive", {}, token),
        composed("POST", "/v1/account/settings", {"settings": "x", "expectedVersion": 0}, token),
        request("GET", "/v1/feed", token=token),
        request("GET", "/v1/friends", token=token),
    ]
    answered: list[int] = []

    def flood(number: int) -> None:
        for _ in scene.until(0.45, 15):
            answered.extend(scene.pour([kinds[number % len(kinds)]] * 20))

    scene.together(scene.pick(60, 400), flood)
    return f"{len(answered):,} answers, {answered.count(503):,} of them 503"
