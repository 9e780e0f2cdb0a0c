"""Arrivals at a fixed rate, whether or not the server keeps up."""

from __future__ import annotations

from collections.abc import Callable

from happy.bench.loop import Loop, now

_LEAST_PAUSE = 0.002
"""Seconds between two looks at the clock: cheaper than a timer for each arrival."""


class Pace:
    """Calls ``act`` with the time at which each arrival was due, ``rate`` times a second.

    An arrival that comes late is not left out, and its time is the one it was due at, so that a server
    that stalls is charged for everything that waits meanwhile.
    """

    def __init__(self, loop: Loop, rate: float, act: Callable[[float], None]) -> None:
        self._loop = loop
        self._rate = rate
        self._act = act
        self._count = 0
        self._begin = self._end = 0.0

    def begin(self, begin: float, end: float) -> None:
        """Start at ``begin`` and stop at ``end``."""
        if self._rate > 0:
            self._begin, self._end = begin, end
            self._loop.at(begin, self._turn)

    def end(self) -> None:
        """No more arrivals."""
        self._end = self._begin

    def _turn(self) -> None:
        time = min(now(), self._end)
        due = self._due()
        while due < time:
            self._count += 1
            self._act(due)
            due = self._due()
        if due < self._end:
            self._loop.at(max(due, now() + _LEAST_PAUSE), self._turn)

    def _due(self) -> float:
        return self._begin + self._count / self._rate
