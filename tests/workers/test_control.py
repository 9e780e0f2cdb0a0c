"""Reports of workers as that of one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.service.control import Impracticable
from happy.service.history import COLUMNS, SAMPLES
from happy.workers.reports import Histories, merged


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


def columns(**values: list[float | None]) -> dict[str, list[float | None]]:
    """A worker's last hour; what is not given is not known."""
    (length,) = {len(one) for one in values.values()}
    return {name: values.get(name, [None] * length) for name in COLUMNS}


def test_last_hour() -> None:
    """Sockets and rates are added up, means weighted; the slowest and the database are the greatest."""
    histories = Histories()
    first = {
        "user": [1.0],
        "commits": [30.0],
        "commitMs": [2.0],
        "commitSlowMs": [9.0],
        "databaseBytes": [7.0],
    }
    second = {
        "user": [2.0],
        "commits": [10.0],
        "commitMs": [6.0],
        "commitSlowMs": [8.0],
        "databaseBytes": [7.0],
    }
    histories.learn("w1", columns(at=[100_000.0], **first))
    histories.learn("w2", columns(at=[92_000.0], **second))
    found = {name: values[-1] for name, values in histories.columns().items()}
    known = {name: value for name, value in found.items() if value is not None}
    assert known.pop("at") == 100_000
    assert known == {"user": 3, "commits": 40, "commitMs": 3, "commitSlowMs": 9, "databaseBytes": 7}


def test_last_hour_of_one_that_was_replaced() -> None:
    """What a worker was before it ended is still there, and while there was none, the others tell alone."""
    histories = Histories()
    assert histories.columns() == columns(at=[])
    times = [15_000.0 * number for number in range(1, 9)]
    histories.learn("w1", columns(at=times, user=[1.0] * 8))
    histories.learn("w2", columns(at=times[:2], user=[2.0, 3.0]))
    histories.learn("w2", columns(at=times[1:2], user=[3.0]))
    histories.learn("w2", columns(at=times[6:], user=[4.0, 5.0]))
    assert histories.columns()["user"] == [3, 4, 4, 1, 1, 1, 5, 6]
    assert histories.columns()["at"] == times


@given(st.lists(st.lists(st.integers(0, 10**8).map(float), unique=True).map(sorted), max_size=4))
def test_last_hour_is_bounded(workers: list[list[float]]) -> None:
    """However workers' times lie, it is an hour at most, in order, and ends with the latest."""
    histories = Histories()
    for number, times in enumerate(workers):
        histories.learn(f"w{number}", columns(at=list(times), user=[1.0] * len(times)))
    found = histories.columns()
    assert len(found["at"]) <= SAMPLES
    assert found["at"] == sorted(found["at"])
    assert found["at"][-1:] == sorted(at for times in workers for at in times)[-1:]
    assert all(value is None or 1 <= value <= len(workers) for value in found["user"])
