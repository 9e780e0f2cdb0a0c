"""Pairings with a made-up X-Forwarded-For each, so that every one seems to come from somebody else.

And with that of the innocent, so that it pays. A right server believes no address that no proxy it trusts
gave it: the limit of the address that is real is reached, and nobody else's.
"""

from tests.hostile.clients import head
from tests.hostile.scene import LOGINS, Misbehaved, Scene

BODY = b'{"publicKey":"' + b"A" * 43 + b'="}'
HEADERS = (
    "X-Forwarded-For: 10.{a}.{b}.9",
    "X-Forwarded-For: 127.0.0.1, 10.{a}.{b}.9",
    "Forwarded: for=10.{a}.{b}.9",
)


def attack(scene: Scene) -> str:
    """More requests than one address may make, from an address of its own."""
    statuses: list[int] = []
    for first in range(0, LOGINS + 500, 250):
        lines = (HEADERS[one % 2].format(a=one // 250, b=one % 250) for one in range(first, first + 250))
        requests = [head("POST", "/v1/auth/request", None, len(BODY), line) + BODY for line in lines]
        statuses += scene.pour(requests, source="127.0.0.67")
    if 429 not in statuses:
        raise Misbehaved(f"{len(statuses)} pairings from one address, none refused")
    return f"{statuses.count(429)} of {len(statuses)} refused"
