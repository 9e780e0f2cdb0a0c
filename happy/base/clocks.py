"""The two clocks of a server.

Deadlines and durations follow one that never goes back, ``CLOCK_MONOTONIC``: the reactor's, which is what
is called ``clock``. Times that are stored or shown follow the wall clock, which may be set to any other hour
while the server runs: what tells it is called ``now``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.base import ReactorBase

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

Now = Callable[[], float]
"""The wall clock, in epoch seconds."""


def follow_monotonic_time(reactor: Any) -> None:
    """Make a reactor, and with it every timer on it, follow monotonic time. May be called again.

    Twisted's reactors ask themselves for the time, so that one attribute is enough; those on other loops
    (asyncio, Glib) also compute from it how long to sleep. Of timers that are set already, what is left of
    their time stays. Anything but a reactor of Twisted's, such as a test's ``Clock``, keeps its own time.

    Uses of the wall clock that remain in Twisted are the time stamps of its log and of HTTP, which are shown,
    the slices of ten milliseconds of ``task.Cooperator``, and the sleep of the reactor on Core Foundation.
    """
    if not isinstance(reactor, ReactorBase):
        return
    shift = time.monotonic() - reactor.seconds()
    # Calls that were cancelled too: the first is a heap, whose order holds if all of them move.
    for call in (*reactor._pendingTimedCalls, *reactor._newTimedCalls):
        call.time += shift
        call.seconds = time.monotonic
    reactor.seconds = time.monotonic


class Hesitant:
    """The wall clock for whoever judges by stored times how long ago something was, in epoch seconds.

    A step ahead is believed only once it has lasted ``seconds``. Until then what was stored before it is
    not taken for old: whoever is alive has that long to be heard of again. A step back is believed at once.
    """

    def __init__(self, clock: IReactorTime, now: Now, seconds: float) -> None:
        self._clock = clock
        self._now = now
        self._seconds = seconds
        self._offset = self._seen = now() - clock.seconds()
        self._since = clock.seconds()

    def __call__(self) -> float:
        at = self._clock.seconds()
        offset = self._now() - at
        if offset > self._seen + _SLEW:
            self._since = at
        self._seen = offset
        if offset < self._offset or at - self._since >= self._seconds:
            self._offset = offset
        return at + self._offset


_SLEW = 1.0
"""Seconds of difference that are no step."""
