"""Memory that is freed goes back to the system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from happy.trimming import SECONDS, Trimming, trim

MIB = 1024 * 1024


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(trim() is None, reason="the C library cannot do it")
def test_trim() -> None:
    """Blocks between others that stay are given back, too."""
    blocks, staying = [], []
    for _ in range(1000):
        blocks.append(bytes(60_000))
        staying.append(bytes(1000))
    full = resident()
    blocks.clear()
    give_back = trim()
    assert give_back is not None
    give_back(0)
    assert resident() < full - 30 * MIB
    assert len(staying) == 1000


class Pool:
    """Threads that do everything at once."""

    def callInThreadWithCallback(self, told: Callable[..., None], work: Callable[..., Any], *of: Any) -> None:
        told(True, work(*of))


def test_rounds() -> None:
    """It is done again and again, by a thread of the reactor's, until it is stopped."""
    done: list[int] = []
    clock = Clock()
    clock.getThreadPool = Pool  # type: ignore[attr-defined]
    clock.callFromThread = lambda call, *details: call(*details)  # type: ignore[attr-defined]
    trimming = Trimming(clock)
    trimming._trim = lambda spare: done.append(spare) or 1
    trimming.start()
    clock.pump([SECONDS] * 2)
    trimming.stop()
    clock.pump([SECONDS] * 2)
    assert done == [0, 0]
