"""Ranges of a file by the thousand, conditional requests, and paths out of the folders.

A right server answers at most one range, and reads nothing but what it is to serve.
"""

from tests.hostile.clients import head
from tests.hostile.scene import Misbehaved, Scene

PATHS = (
    "/files/../../master-secret",
    "/files/..%2f..%2fmaster-secret",
    "/..%2f..%2f..%2f..%2f..%2fetc/passwd",
    "/..%2fdata/master-secret",
    "/%2e%2e/%2e%2e/data/master-secret",
    "/files//etc/passwd",
    "/index.html%00.js",
    "/files/" + "a/" * 3000,
)
PAGE = b"<html>"
"""What the web app answers to a path that it does not have."""


def attack(scene: Scene) -> str:
    """Every way out, and many ranges of the web app's page."""
    for path in PATHS:
        answer = scene.ask("GET", path)
        if answer.status >= 500 or (answer.status == 200 and PAGE not in answer.body):
            raise Misbehaved(f"{path[:40]}: {answer.status}, {len(answer.body)} bytes")
    many = "Range: bytes=" + ",".join(f"{number}-{number}" for number in range(1500))
    odd = ("Range: bytes=0-", "Range: bytes=-1", "Range: bytes=5-1", "Range: bytes=" + "9" * 99 + "-", many)
    tags = "If-None-Match: " + '"x",' * 2000
    statuses: list[int] = []
    for number in scene.until(0.3, 8):
        lines = [odd[number % len(odd)], tags]
        statuses += scene.pour([head("GET", "/index.html", None, None, line) for line in lines] * 5)
    if max(statuses) >= 500:
        raise Misbehaved(f"ranges: {sorted(set(statuses))}")
    return f"{len(statuses)} requests"
