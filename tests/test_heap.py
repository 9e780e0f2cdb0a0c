"""Giving memory back to the system."""

from __future__ import annotations

import ctypes
import sys

import pytest

from happy import heap


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps so much")
def test_given_back() -> None:
    """What is freed between things that stay is no longer resident afterwards."""
    pieces = [bytes(50_000) for _ in range(2000)]
    del pieces[:-1:2], pieces[: len(pieces) // 2]
    before = resident()
    heap.trim()
    assert resident() < before


def resident() -> int:
    """Pages of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no such function nothing happens."""
    heap._malloc_trim.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    heap.trim()
    heap._malloc_trim.cache_clear()
