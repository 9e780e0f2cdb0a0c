"""Windows of time, on a clock of the test's own."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from happy.api import rate_limits
from happy.api.rate_limits import Windows


def test_counts_each_key() -> None:
    """A key is admitted so often in a window that begins with its first use, independent of others."""
    clock = Clock()
    windows = Windows(2, 60, clock.seconds)
    assert [windows.admit("a") for _ in range(3)] == [True, True, False]
    clock.advance(30)
    assert [windows.admit("b") for _ in range(3)] == [True, True, False]
    clock.advance(29)
    assert not windows.admit("a")
    clock.advance(1)
    assert windows.admit("a")
    assert not windows.admit("b")


def test_forgets() -> None:
    """Keys whose window is over are dropped with the next use, and none is held as it was given."""
    clock = Clock()
    windows = Windows(5, 60, clock.seconds)
    for number in range(100):
        windows.admit(f"192.0.2.{number}")
    assert len(windows) == 100
    assert "192.0.2" not in repr(vars(windows))
    clock.advance(60)
    windows.admit("\udc80 any text")
    assert len(windows) == 1


def test_most_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without end take no memory without end: the oldest are forgotten."""
    monkeypatch.setattr(rate_limits, "MOST_KEYS", 3)
    windows = Windows(1, 60, lambda: 0.0)
    assert all(windows.admit(str(number)) for number in range(10))
    assert len(windows) == 3
    assert not windows.admit("9")
    assert windows.admit("6")


def test_without_limit() -> None:
    """A limit of nought admits everything and remembers nothing."""
    windows = Windows(0, 60, lambda: 0.0)
    assert all(windows.admit("a") for _ in range(1000))
    assert len(windows) == 0
