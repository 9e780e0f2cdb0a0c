"""Somebody who listens to a bus, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred


class Ear:
    """A bus's owner that keeps what it is told, in order: (channel, payload), channel, "back" or "lost"."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def heard(self, channel: str, payload: bytes) -> None:
        self._note((channel, payload))

    def confirmed(self, channel: str) -> None:
        self._note(channel)

    def back(self) -> None:
        self._note("back")

    def lost(self) -> None:
        self._note("lost")

    def taken(self) -> list[Any]:
        """What was told since the last time."""
        told, self.told = self.told, []
        return told

    def until(self, *what: Any) -> Deferred[None]:
        """Fires when all of this was told."""
        return self.when(lambda: all(one in self.told for one in what))

    def when(self, true: Callable[[], bool]) -> Deferred[None]:
        """Fires when something is true, after whatever is told."""
        fired: Deferred[None] = Deferred()
        self._waiting.append((true, fired))
        self._look()
        return fired

    def _note(self, what: Any) -> None:
        self.told.append(what)
        self._look()

    def _look(self) -> None:
        for waiting in [waiting for waiting in self._waiting if waiting[0]()]:
            self._waiting.remove(waiting)
            waiting[1].callback(None)
