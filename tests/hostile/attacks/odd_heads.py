"""Heads of 16 KiB that are nothing but short header lines, members of a query, escapes, or segments.

A right server works no longer on them than on their length, and answers the next one in between.
"""

from tests.hostile.clients import END, head
from tests.hostile.scene import Misbehaved, Scene

HEADS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 3000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a=b;" * 3500 + END,
    b"GET / HTTP/1.1\r\nHost: x\r\nAccept: " + b"*/*," * 3500 + END,
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + b"1.2.3.4," * 1700 + END,
    head("GET", "/v1/kv?" + "a=1&" * 3500),
    head("GET", "/v1/kv?prefix=" + "%41" * 4500),
    head("GET", "/" + "a/" * 7000),
    head("GET", "/" + "%2f" * 5000),
    head("GET", "/" * 14_000),
    head("GET", "/v1/sessions/" + "%ff" * 4500),
    head("GET", "/v1/updates/?" + "EIO=4&transport=polling&" * 550),
    head("GET", "http://" + "x." * 7000 + "/"),
)


def attack(scene: Scene) -> str:
    """Each again and again on kept connections."""
    statuses: list[int] = []

    def pour(number: int) -> None:
        for turn in scene.until(0.3, 12):
            statuses.extend(scene.pour([HEADS[(4 * turn + number) % len(HEADS)]] * 20))

    scene.together(4, pour)
    # Some of the heads open polling sessions, of which an address may have only so many.
    if any(status >= 500 and status != 503 for status in statuses):
        raise Misbehaved(f"odd heads: {sorted(set(statuses))}")
    return f"{len(statuses):,} heads"
