"""What the long runs of this folder make of what they saw."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.__main__ import failures

WELL: dict[str, Any] = {
    "faults": {"a node is killed": [3, 3]},
    "counts": {"acknowledged": 10, "deliveries": 40, "calls ok": 2},
    "wrong": {"lost": 0},
    "errors": ["[happy.cluster.redis_bus.RedisBus#error] reaching Redis failed: it closes the connection"],
}


def test_well() -> None:
    """A run in which everything was seen and nothing was wrong has no failures."""
    assert failures(WELL) == []


@pytest.mark.parametrize(
    ("difference", "failure"),
    [
        ({"wrong": {"lost": 2}}, "lost: 2"),
        ({"faults": {"a node is killed": [2, 3]}}, "a node is killed: 1 of 3 not seen"),
        ({"faults": {}}, "nothing went wrong"),
        ({"counts": WELL["counts"] | {"deliveries": 0}}, "deliveries: none"),
        ({"errors": ["[twisted#critical] Unhandled Error"]}, "[twisted#critical] Unhandled Error"),
    ],
)
def test_failures(difference: dict[str, Any], failure: str) -> None:
    """Whatever is wrong is one, and so is what proves nothing."""
    assert failures(WELL | difference) == [failure]
