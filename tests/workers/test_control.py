"""Reports of workers as that of one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from happy.service.control import Impracticable
from happy.workers.control import merged


def report(user: int, *reasons: str, nodes: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """What a worker tells."""
    sockets = {"user": user, "session": 1, "machine": 0}
    told = {"version": "1", "ready": not reasons, "reasons": list(reasons), "sockets": sockets}
    return {**told, "messagesPerMinute": user or None, "nodes": nodes}


def test_merged() -> None:
    """Sockets and messages are added up, and everything else is what the first says."""
    found = merged({"w1": report(2), "w2": report(3)})
    assert (found["version"], found["ready"], found["reasons"]) == ("1", True, [])
    assert found["sockets"] == {"user": 5, "session": 2, "machine": 0}
    assert found["messagesPerMinute"] == 5
    assert found["nodes"] == [
        {"name": "w1", "state": "ready", "sockets": 3},
        {"name": "w2", "state": "ready", "sockets": 4},
    ]


def test_nodes_elsewhere() -> None:
    """Nodes of other hosts have a line each, behind the workers, however many of these know of them."""
    here, there = {"name": "a-w1", "state": "here"}, {"name": "a-w1", "state": "there"}
    second, far = {"name": "a-w2", "state": "here"}, {"name": "b", "state": "there"}
    found = merged({"w1": report(1, nodes=[here, far]), "w2": report(1, nodes=[second, there, far])})
    assert [node["name"] for node in found["nodes"]] == ["w1", "w2", "b"]


def test_silent() -> None:
    """A worker that does not answer keeps the server from being ready."""
    found = merged({"w1": None, "w2": report(3, "disk"), "w3": report(1, "disk")})
    assert (found["ready"], found["reasons"]) == (False, ["disk", "w1 does not answer"])
    assert [node["state"] for node in found["nodes"]] == ["silent", "not ready", "not ready"]
    with pytest.raises(Impracticable, match="no worker answers"):
        merged({"w1": None})
