"""The processor's time, divided among those whose bytes arrive.

All clients share one reactor. What arrives is worked on at once, as long as its owner has not used more than
half of the time lately; from then on its pieces of work wait in a :class:`~happy.base.pace.FairQueue`. So a
flood delays itself, and others by a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, TypeVar

from twisted.internet.defer import Deferred

from happy.base.pace import FairQueue

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

SLICE: Final = 0.005
"""Seconds for those who wait in each turn of the reactor."""

MOST_PIECES: Final = 16
"""Pieces of their work in each turn: what a piece leads to may take longer than itself."""

MOST_NEW: Final = 16
"""New connections of one owner that are read from in a turn: so that few of them have something to be read,
since the system lets all that have take turns, whosesoever they are."""

MOST_WAITING: Final = 4 * 1024 * 1024
"""Bytes of one owner that may wait to be worked on."""

_LONGEST_DEBT: Final = 1.0
"""Seconds that what was used counts for, however much that was."""


class _Allowance:
    """Time that may be used: ``burst`` seconds at once, and one of ``price`` seconds for long.

    From ``free_at`` on there is some.
    """

    __slots__ = ("burst", "free_at", "price")

    def __init__(self, price: float, burst: float) -> None:
        self.price = price
        self.burst = burst
        self.free_at = 0.0

    def charge(self, began: float, now: float) -> None:
        """Count the time from ``began`` until ``now``."""
        debt = self.free_at - began
        if debt < -self.burst:
            debt = -self.burst
        debt += (now - began) * self.price
        self.free_at = began + (debt if debt < _LONGEST_DEBT else _LONGEST_DEBT)


class Processor(FairQueue[Callable[[], None]]):
    """Divides the time of one reactor. ``clock`` tells it, and calls back."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock, SLICE, MOST_PIECES)
        self.now: Callable[[], float] = clock.seconds
        # Many owners may share a purse, and something has to be left for other work.
        self.allowance = _Allowance(price=1.25, burst=0.05)
        self.until = 0.0
        """When those who wait have had their time of this turn."""
        self._shares: dict[str, Share] = {}
        self._welcomed: list[Share] = []
        self._lingering: dict[Share, None] = {}
        self._looking: IDelayedCall | None = None
        self._stopped = False

    def open(self, owner: str) -> Share:
        """The share of an owner, to be closed as often as it is opened."""
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = Share(self, owner)
        share.users += 1
        return share

    def forget(self, share: Share) -> None:
        """Nobody uses a share any more: it lasts as long as it owes time, or something of it waits."""
        if share.settled or self._stopped:
            self._lingering.pop(share, None)
            del self._shares[share.owner]
            return
        self._lingering[share] = None
        if self._looking is None:
            self._looking = self._clock.callLater(_LONGEST_DEBT, self._look)

    def _look(self) -> None:
        self._looking = None
        lingering, self._lingering = self._lingering, {}
        for share in lingering:
            if not share.users:
                self.forget(share)

    def stop(self) -> None:
        """Look after nothing any more."""
        self._stopped = True
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def serve(self, waiter: Callable[[], None], end: float) -> None:
        """Do a piece of work. It charges for itself."""
        self.until = end
        waiter()

    def welcomed(self, share: Share) -> None:
        """A share has its first new connection in this turn."""
        if not self._welcomed:
            self._clock.callLater(0, self._end_turn)
        self._welcomed.append(share)

    def _end_turn(self) -> None:
        for share in self._welcomed:
            share.new = 0
        self._welcomed.clear()


class Share:
    """An owner's part of the time."""

    __slots__ = ("_all", "_own", "_processor", "_waiting_bytes", "new", "now", "owner", "users")

    def __init__(self, processor: Processor, owner: str) -> None:
        self.owner = owner
        self.users = 0
        self.new = 0
        self.now = processor.now
        self._processor = processor
        self._all = processor.allowance
        self._own = _Allowance(price=2.0, burst=0.02)
        self._waiting_bytes = 0

    def begin(self) -> float | None:
        """The time, for :meth:`charge`, if work may be done now; None if it has to be done :meth:`later`."""
        now = self.now()
        owing = now < self._own.free_at or now < self._all.free_at
        return None if owing or self.owner in self._processor else now

    @property
    def until(self) -> float:
        """When whose turn it is has to let others, with whatever is left, go :meth:`later`."""
        return self._processor.until

    @property
    def settled(self) -> bool:
        """Whether the owner owes nothing, and nothing of it waits."""
        return not self.new and self._own.free_at <= self.now() and self.owner not in self._processor

    def welcome(self) -> bool:
        """Whether one more new connection may be read from at once; if not, :meth:`later`."""
        if self.new >= MOST_NEW or self.owner in self._processor or self.now() < self._own.free_at:
            return False
        self.new += 1
        if self.new == 1:
            self._processor.welcomed(self)
        return True

    def charge(self, began: float) -> None:
        """Work was done since ``began``, a time that :meth:`begin` or :attr:`now` answered."""
        now = self.now()
        self._own.charge(began, now)
        self._all.charge(began, now)

    def later(self, work: Callable[[], None]) -> None:
        """Do a piece of work, of some milliseconds, when it is this owner's turn. It charges for itself."""
        self._processor.wait(self.owner, work)

    def hold(self, size: int) -> bool:
        """Let so many bytes wait, or fewer if it is negative; False if those are more than may."""
        self._waiting_bytes += size
        return self._waiting_bytes <= MOST_WAITING

    async def in_turns(self, steps: Generator[None, None, T]) -> T:
        """Go through steps of some milliseconds each; answers and raises what they do."""
        while True:
            began = self.begin()
            if began is None:
                turn: Deferred[None] = Deferred()
                self.later(lambda turn=turn: turn.callback(None))  # type: ignore[misc]
                await turn
                began = self.now()
            try:
                next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self.charge(began)

    def close(self) -> None:
        """One user less."""
        self.users -= 1
        if not self.users:
            self._processor.forget(self)
