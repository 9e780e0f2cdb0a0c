"""Many deadlines that lie equally far ahead, on one timer.

A timer of the reactor for each call in flight costs more than the call. Here a deadline costs an entry
of a dict, which keeps them in order, and most of them are dropped long before they are reached.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


AT_ONCE: Final = 100
"""Deadlines that are reached in one turn of the reactor: some ten milliseconds, where each is answered."""

_log = Logger()


class Expiry:
    """Deadlines ``seconds`` after they are added."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._keys = count()
        self._open: dict[int, tuple[float, Callable[[], None]]] = {}
        self._timer: IDelayedCall | None = None

    def add(self, expired: Callable[[], None]) -> int:
        """Call ``expired`` in time, unless the key that this returns is dropped before."""
        key = next(self._keys)
        self._open[key] = (self._clock.seconds() + self._seconds, expired)
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._expire)
        return key

    def drop(self, key: int) -> None:
        """The deadline no longer matters. Keys that are gone are ignored.

        The timer stays: while entries come and go it finds nothing to do once in a while.
        """
        self._open.pop(key, None)

    def stop(self) -> None:
        """Forget every deadline, and let go of the clock."""
        self._open.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        due: list[tuple[int, Callable[[], None]]] = []
        for key, (deadline, expired) in self._open.items():
            if deadline > now:
                self._timer = self._clock.callLater(deadline - now, self._expire)
                break
            if len(due) == AT_ONCE:
                self._timer = self._clock.callLater(0, self._expire)
                break
            due.append((key, expired))
        for key, expired in due:
            if self._open.pop(key, None) is not None:
                try:
                    expired()
                except Exception:
                    # Whatever is wrong with one must not put off the others.
                    _log.failure("Acting on a deadline failed")
