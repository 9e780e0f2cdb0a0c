"""Workers that hang: one whose reactor turns no longer does not end by itself, and its clients wait for it.

Workers say every second that they go on. One that has said nothing for half a minute is killed, and replaced
as one that ended. Better late than by mistake: only seconds count in which this process had its turn in time,
so neither a machine that was suspended nor one that has too much to do lets a worker seem to hang.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.task import LoopingCall

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LOOK_SECONDS: Final = 1.0
"""How often workers say that they go on, and are looked at."""

MOST_SILENT: Final = 30
"""Looks in a row at which a worker has said nothing since the one before, until it is taken to hang."""

_LATE: Final = 2 * LOOK_SECONDS
"""A look that comes so long after the one before says nothing of a worker."""


class Watched(Protocol):
    """A worker."""

    def look(self) -> None:
        """Kill it if it has been silent too often."""


class Watch:
    """Looks at ``workers``."""

    def __init__(self, clock: IReactorTime, workers: Sequence[Watched]) -> None:
        self._clock = clock
        self._workers = workers
        self._looked = 0.0
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin."""
        self._looked = self._clock.seconds()
        self._loop.start(LOOK_SECONDS, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        now = self._clock.seconds()
        in_time, self._looked = now - self._looked < _LATE, now
        if in_time:
            for worker in self._workers:
                worker.look()
