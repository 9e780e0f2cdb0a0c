"""Memory that is freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from happy.service import allocator
from happy.service.allocator import MARGIN, SECONDS, Memory

PROGRAM = """
from twisted.internet.task import Clock
from happy.service.allocator import SECONDS, Memory, resident

clock = Clock()
memory = Memory(clock)
memory.start()
before = resident()
large = bytes(20_000_000)
del large
blocks, small = [], []
for size in [1_000_000] * 50 + [20_000] * 2500:
    blocks.append(b"x" * size)
    small.append(b"y" * 5000)
peak = resident()
del blocks
clock.advance(SECONDS)
print((peak - before) >> 20, (resident() - before) >> 20)
"""


@pytest.mark.skipif(allocator._malloc_trim is None, reason="this is no glibc")
def test_given_back() -> None:
    """A hundred megabytes in large and small blocks, between others that stay, leave next to nothing."""
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    grown, left = map(int, answer.stdout.split())
    assert grown > 90
    assert left < 30


def test_only_when_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heap is left alone as long as the process is not much larger than it was."""
    asked, size = [], [1000]
    monkeypatch.setattr(allocator, "_mallopt", None)
    monkeypatch.setattr(allocator, "_malloc_trim", asked.append)
    monkeypatch.setattr(allocator, "resident", lambda: size[0])
    monkeypatch.setattr(allocator, "_STATUS", Path(__file__))
    clock = Clock()
    memory = Memory(clock)
    memory.start()
    size[0] += MARGIN
    clock.advance(SECONDS)
    assert asked == []
    size[0] += 1
    clock.advance(SECONDS)
    assert asked == [0]
    memory.stop()
    assert not clock.getDelayedCalls()


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such library, nothing happens."""
    monkeypatch.setattr(allocator, "_mallopt", allocator._function("no_such_function"))
    monkeypatch.setattr(allocator, "_malloc_trim", None)
    clock = Clock()
    memory = Memory(clock)
    memory.start()
    memory.stop()
    assert not clock.getDelayedCalls()
