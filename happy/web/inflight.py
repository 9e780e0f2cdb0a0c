"""Counting what is under way, so that stopping can wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred


class InFlight:
    """How many pieces of work are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return self._count

    def enter(self) -> None:
        """One more begins."""
        self._count += 1

    def leave(self) -> None:
        """One has ended."""
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for idle in waiting:
                idle.callback(None)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One piece of work."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def when_idle(self) -> Deferred[None]:
        """Fires as soon as nothing is under way."""
        idle: Deferred[None] = Deferred()
        if self._count:
            self._waiting.append(idle)
        else:
            idle.callback(None)
        return idle
