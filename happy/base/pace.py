"""Who comes next when there is more to do than fits into a turn of the reactor.

Whoever has something to do waits in a line of its owner's, and the lines take turns, who had least time
first, some milliseconds in each turn of the reactor: whoever sends thousands of packets at once, over however
many connections, keeps the others waiting for one piece of its own work, and of a hundred who do so, each is
not one more to wait for. What may be done without waiting is for others to say:
:class:`Pace` here, by the age of the turn, and :mod:`happy.web.shares`, by what an owner has used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.rotation import Rotation

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

TURN_SECONDS: Final = 0.006
"""How old a turn may be when what arrives in it is still worked on at once."""

QUEUE_SECONDS: Final = 0.006
"""What all who wait get of a turn."""

PORTION_SECONDS: Final = 0.002
"""What an owner gets of it before it is the next one's turn."""

LONGEST_DEBT: Final = 2 * PORTION_SECONDS
"""What others get first at the most, after an owner's piece of work took longer: it may be the system that
gave the processor to somebody else meanwhile."""

_ANY_NUMBER: Final = sys.maxsize

T = TypeVar("T")
W = TypeVar("W")

_log = Logger()


class FairQueue(Generic[W]):
    """Those who wait, in a line for each owner, of which that one is next whose owner has had least time.

    ``seconds`` is the time for all of them in a turn of the reactor, ``most`` how many are served in it.
    """

    __slots__ = ("_clock", "_lines", "_most", "_seconds", "_timer")

    def __init__(self, clock: IReactorTime, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._lines: Rotation[W] = Rotation(LONGEST_DEBT)
        self._timer: IDelayedCall | None = None

    def __contains__(self, owner: object) -> bool:
        """Whether anything of an owner's waits."""
        return owner in self._lines

    def wait(self, owner: str, waiter: W) -> None:
        """Let ``waiter`` go on when it is its turn; it stands in the line of its owner, and in it once."""
        self._lines.add(owner, waiter)
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._serve_some)

    def serve(self, waiter: W, end: float) -> None:
        """It is this one's turn; ``end`` is when the time for all is over."""
        raise NotImplementedError

    def _serve_some(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        end = now + self._seconds
        for _ in range(self._most):
            following = self._lines.take()
            if following is None:
                return
            owner, waiter = following
            try:
                self.serve(waiter, end)
            except Exception as error:
                # Whatever is wrong with one must not keep the others waiting for ever.
                _log.error("Going on failed: {fault}", fault=describe_fault(error))
            began, now = now, self._clock.seconds()
            self._lines.charge(owner, now - began)
            if now >= end:
                break
        if self._lines.size and self._timer is None:
            self._timer = self._clock.callLater(0, self._serve_some)


class Waiter(Protocol):
    """What has more to do than there was time for."""

    def go_on(self) -> None:
        """Do at least something, and stop soon after :meth:`Pace.over`."""


class Pace(FairQueue[Waiter]):
    """Works on what arrives while the turn of the reactor is young; the rest waits, for portions of time."""

    __slots__ = ("late", "told", "until")

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock, QUEUE_SECONDS, _ANY_NUMBER)
        self.told = False
        """Whether the reactor itself says when a turn begins; if not, whoever receives something does."""
        self.late = True
        """Whether who receives something has to ask :meth:`over`. A reactor that says when a turn begins
        looks at the clock after each connection, and so the next one need not; elsewhere it stays true."""
        self.until = clock.seconds() + TURN_SECONDS
        """When the turn, or the portion of it, is over."""

    def begin(self) -> None:
        """A turn begins."""
        self.until = self._clock.seconds() + TURN_SECONDS

    def over(self) -> bool:
        """Whether what is left has to :meth:`wait`."""
        return self._clock.seconds() >= self.until

    def serve(self, waiter: Waiter, end: float) -> None:
        """See :class:`FairQueue`."""
        self.until = min(end, self._clock.seconds() + PORTION_SECONDS)
        waiter.go_on()

    def turn(self, owner: str) -> Deferred[None]:
        """Fires when it is the owner's turn, for a piece of work that may take longer than a portion."""
        turn: Deferred[None] = Deferred()
        self.later(owner, partial(turn.callback, None))
        return turn

    def soon(self, owner: str, act: Callable[[], None]) -> None:
        """Act now, if there is time and nobody of the owner's waits; or else in its line."""
        if owner in self._lines or self.over():
            self.later(owner, act)
        else:
            act()

    def later(self, owner: str, act: Callable[[], None]) -> None:
        """Act when it is the owner's turn, and not before this returns."""
        self.wait(owner, _Once(act))

    def each(self, owner: str, things: Iterable[T], act: Callable[[T], None]) -> None:
        """Act on one thing after the other, as far as there is time; the rest waits in the owner's line."""
        _Chore(self, owner, things, act).go_on()


class _Once:
    """Something to do."""

    __slots__ = ("go_on",)

    def __init__(self, act: Callable[[], None]) -> None:
        self.go_on = act


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
