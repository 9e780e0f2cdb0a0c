"""For how long the reactor stays with what clients send, and who comes next when that is more than fits.

Whatever arrives is worked on at once while the reactor's turn is young. What is left then waits here, in a
line for each owner, and is taken a portion at a time, one owner after the other: whoever sends thousands of
packets at once, over however many connections, keeps the others waiting for one portion of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

TURN_SECONDS: Final = 0.006
"""How old a turn may be when what arrives in it is still worked on at once."""

QUEUE_SECONDS: Final = 0.01
"""What all who wait get of a turn."""

PORTION_SECONDS: Final = 0.002
"""What an owner gets of it before it is the next one's turn."""


T = TypeVar("T")

_log = Logger()


class Waiter(Protocol):
    """What has more to do than there was time for."""

    def go_on(self) -> None:
        """Do at least something, and stop soon after :meth:`Pace.over`. Must not raise anything."""


class Pace:
    """The reactor's turns, and the lines of those who wait."""

    __slots__ = ("_clock", "_lines", "_timer", "_until", "told")

    def __init__(self, clock: IReactorTime) -> None:
        self.told = False
        """Whether the reactor itself calls :meth:`begin`; if not, whoever receives something does."""
        self._clock = clock
        self._until = clock.seconds() + TURN_SECONDS
        self._lines: dict[str, deque[Waiter]] = {}
        self._timer: IDelayedCall | None = None

    def begin(self) -> None:
        """A turn begins."""
        self._until = self._clock.seconds() + TURN_SECONDS

    def over(self) -> bool:
        """Whether what is left has to :meth:`wait`."""
        return self._clock.seconds() >= self._until

    def wait(self, owner: str, waiter: Waiter) -> None:
        """Let ``waiter`` go on when it is its turn; it stands in the line of its owner, and in it once."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = deque()
        line.append(waiter)
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._go_on)

    def soon(self, owner: str, act: Callable[[], None]) -> None:
        """Act now, if there is time and nobody of the owner's waits; or else in its line."""
        if owner in self._lines or self.over():
            self.wait(owner, _Chore(self, owner, (act,), _call))
        else:
            act()

    def each(self, owner: str, things: Iterable[T], act: Callable[[T], None]) -> None:
        """Act on one thing after the other, as far as there is time; the rest waits in the owner's line."""
        _Chore(self, owner, things, act).go_on()

    def _go_on(self) -> None:
        self._timer = None
        end = self._clock.seconds() + QUEUE_SECONDS
        while self._lines and self._clock.seconds() < end:
            waiter = self._next()
            self._until = min(end, self._clock.seconds() + PORTION_SECONDS)
            try:
                waiter.go_on()
            except Exception:
                _log.failure("Going on failed")
        if self._lines and self._timer is None:
            self._timer = self._clock.callLater(0, self._go_on)

    def _next(self) -> Waiter:
        """The first in the first line, which becomes the last line."""
        owner = next(iter(self._lines))
        line = self._lines.pop(owner)
        waiter = line.popleft()
        if line:
            self._lines[owner] = line
        return waiter


def _call(act: Callable[[], None]) -> None:
    act()


class _Chore:
    """Something to do to each of many."""

    __slots__ = ("_act", "_owner", "_pace", "_things")

    def __init__(self, pace: Pace, owner: str, things: Iterable[T], act: Callable[[T], None]) -> None:
        self._pace = pace
        self._owner = owner
        self._things = iter(things)
        self._act = act

    def go_on(self) -> None:
        """Do at least one."""
        for thing in self._things:
            try:
                self._act(thing)
            except Exception:
                # Whatever is wrong with one must not put off the others.
                _log.failure("Working on one of many failed")
            if self._pace.over():
                self._pace.wait(self._owner, self)
                return
