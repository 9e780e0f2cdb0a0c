"""Every attack for a moment, one after the other, on one server.

At length they are what ``python -m tests.hostile`` does. The bounds are wide, for machines that do other
things at the same time; those of the command are strict.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.hostile.attacks import names
from tests.hostile.judging import Bounds
from tests.hostile.running import Arena, arena

BOUNDS = Bounds(latency=1.0, growth=224, left=float("inf"), patience=0, log=64, stalls=float("inf"))
OPTIONS = ("--memory=128MiB", "--ping-interval=2", "--ping-timeout=3", "--connect-timeout=4")
"""So little memory that a moment's attack can fill it, and so little patience that it is empty again soon."""
LONGEST = 20.0
"""Seconds that an attack may take before it is broken off."""
LEFT, PATIENCE = 128, 30.0
"""MiB that may be left of all attacks together, so many seconds after the last one."""


@pytest.fixture(scope="module")
def playing() -> Iterator[Arena]:
    """A server and the innocent."""
    with arena(at_length=False, options=OPTIONS) as one:
        yield one


@pytest.mark.parametrize("name", names())
def test_attack(playing: Arena, name: str) -> None:
    """The innocent is served in time, neither refused nor cut, and the server keeps within its bounds."""
    outcome = playing.play(name, BOUNDS, LONGEST)
    assert outcome.wrong == [], outcome.dump()


def test_memory_is_back(playing: Arena) -> None:
    """What all the attacks made the server keep is gone soon after."""
    playing.attacker.close()
    end = time.monotonic() + PATIENCE
    while (left := playing.grown) > LEFT and time.monotonic() < end:
        time.sleep(0.1)
    assert left <= LEFT
