"""Waiting that has an end, whatever becomes of what is waited for."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


def within(seconds: float, awaited: Deferred[T], clock: IReactorTime) -> Deferred[T]:
    """The outcome of ``awaited``; fails with ``twisted.internet.defer.TimeoutError`` if it takes longer.

    ``awaited`` is cancelled then, and when this is cancelled. What it makes of that is of no consequence:
    unlike with ``Deferred.addTimeout`` nobody waits for it any more, and its outcome is dropped.
    """
    left = False

    def leave(_: Deferred[T] | None = None) -> None:
        nonlocal left
        left = True
        if timer.active():
            timer.cancel()
        with suppress(Exception):  # txpostgres raises in the middle of a statement
            awaited.cancel()

    def give_up() -> None:
        leave()
        waiting.errback(TimeoutError(seconds, "Deferred"))

    def ended(outcome: T | Failure) -> None:
        if not left:
            timer.cancel()
            waiting.callback(outcome)

    waiting: Deferred[T] = Deferred(leave)
    timer = clock.callLater(seconds, give_up)
    awaited.addBoth(ended)
    return waiting


def relayed(event: Deferred[None]) -> Deferred[None]:
    """A Deferred of one's own that fires when ``event`` does; cancelling it leaves the event to others."""
    mine: Deferred[None] = Deferred()

    def fire(_: None) -> None:
        if not mine.called:
            mine.callback(None)

    event.addCallback(fire)
    return mine


class OneByOne:
    """Fires Deferreds one after the other, also those that are to fire because another one did.

    A thousand who wait for the same thing, and each give it to the next one at once, would else be a
    thousand calls within each other.
    """

    def __init__(self) -> None:
        self._due: deque[Deferred[None]] = deque()
        self._firing = False

    def fire(self, waiting: Deferred[None]) -> None:
        """Fire it with None, now or when those before have; one that was cancelled by then is left alone."""
        self._due.append(waiting)
        if self._firing:
            return
        self._firing = True
        try:
            while self._due:
                due = self._due.popleft()
                if not due.called:
                    due.callback(None)
        finally:
            self._firing = False
