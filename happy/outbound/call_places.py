"""How many calls of a service are under way at a time.

A few, as long as they end soon. One that takes long does not keep others waiting, which may well end sooner:
another one may begin in its place, until so many are under way that the service is plainly not there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SLOW_SECONDS: Final = 0.5
"""After how long a call takes long."""


class CallPlaces:
    """``few`` calls at a time, and ``slow`` more in place of those that take long; others wait, in order."""

    def __init__(self, clock: IReactorTime, few: int, slow: int) -> None:
        self._clock = clock
        self._free = few
        self._slow = slow
        self._waiting: deque[Deferred[None]] = deque()
        self._late: dict[CallPlace, None] = {}
        """Those that take long, and have nobody in their place."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> CallPlace:
        """A place, to be left by :meth:`CallPlace.leave`; who is cancelled does not wait any more."""
        if self._free:
            self._free -= 1
        else:
            turn = Deferred[None](self._waiting.remove)
            self._waiting.append(turn)
            await turn
        return CallPlace(self, self._clock)

    def free(self) -> None:
        """Let somebody else in."""
        if self._waiting:
            self._waiting.popleft().callback(None)
        else:
            self._free += 1

    def late(self, place: CallPlace) -> None:
        """A call takes long."""
        self._late[place] = None
        self._replace()

    def left(self, place: CallPlace) -> None:
        """A call is over."""
        if place.replaced:
            self._slow += 1
            self._replace()
        else:
            self._late.pop(place, None)
            self.free()

    def _replace(self) -> None:
        while self._slow and self._late:
            place = next(iter(self._late))
            del self._late[place]
            self._slow -= 1
            place.replaced = True
            self.free()


class CallPlace:
    """A call's place; ``replaced`` tells that another one has begun in it."""

    def __init__(self, places: CallPlaces, clock: IReactorTime) -> None:
        self.replaced = False
        self._places = places
        self._timer: IDelayedCall | None = clock.callLater(SLOW_SECONDS, self._take_long)

    def _take_long(self) -> None:
        self._timer = None
        self._places.late(self)

    def leave(self) -> None:
        """The call is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._places.left(self)
