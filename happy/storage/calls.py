"""Calls of the database under way: who pays for them, and how long they may wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from happy.base.bounds import CROWDED_OUT, Holding
from happy.base.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

T = TypeVar("T")

NOBODY: Final = "nobody"
"""Whom the database's time belongs to that goes to requests of no account."""

SERVER: Final = ""
"""The owner of what the server does by itself. There is little of it, and it comes first."""

WAITED = "patience"
"""A call had to wait longer than it may."""

WAITING_SHARE: Final = 0.7
"""Of the time of a call, what it may spend on waiting for its turn: then there is some left for its work."""


class _Lapsed(NamedTuple):
    """What a turn comes to that is waited for no longer, and why."""

    why: str


def _lapsed(failure: Failure) -> _Lapsed:
    return _Lapsed(CROWDED_OUT if failure.trap(CancelledError, Overloaded) is Overloaded else WAITED)


class Call:
    """One call, of an ``owner``, which is to end within ``seconds`` from now on.

    ``place`` is what it holds of the bound on calls. Whoever loses it stops waiting; work that has begun
    goes on to its end. ``leave`` answers the caller before that. ``refused`` is told of calls that waited
    in vain.
    """

    __slots__ = (
        "_borrowed_at",
        "_clock",
        "_deadline",
        "_last_turn",
        "_lost",
        "_refused",
        "_turn",
        "leave",
        "owner",
        "place",
    )

    def __init__(self, clock: Any, owner: str, seconds: float, refused: Callable[[str], None]) -> None:
        now = clock.seconds()
        self._clock = clock
        self._borrowed_at = now
        self._deadline = now + seconds
        self._last_turn = now + seconds * WAITING_SHARE
        self._refused = refused
        self._turn: Deferred[Any] | None = None
        self._lost = False
        self.owner = owner
        self.place: Holding | None = None
        self.leave: Callable[[Exception], None] = lambda error: None

    @property
    def left(self) -> float:
        """The seconds that are left, not below zero."""
        return max(0.0, float(self._deadline - self._clock.seconds()))

    @property
    def may_wait(self) -> bool:
        """Whether there is time to wait for a turn."""
        return bool(self._clock.seconds() < self._last_turn)

    def borrow(self) -> None:
        """It has a connection from now on."""
        self._borrowed_at = self._clock.seconds()

    @property
    def borrowed(self) -> float:
        """For how many seconds it has had its connection."""
        return float(self._clock.seconds() - self._borrowed_at)

    async def wait(self, turn: Deferred[T]) -> T:
        """Wait for a turn, which is cancelled when it does not come in time.

        Raises Overloaded, also when the turn itself is refused.
        """
        if turn.called:
            return await turn
        if self._lost:
            turn.cancel()
        self._turn = turn
        timer = self._clock.callLater(max(0.0, self._last_turn - self._clock.seconds()), turn.cancel)
        # Not as an exception: with the frames that it passes through it would last until a collection.
        outcome = await turn.addErrback(_lapsed)
        self._turn = None
        if timer.active():
            timer.cancel()
        if isinstance(outcome, _Lapsed):
            if not self._lost:
                self._refused(outcome.why)
            raise Overloaded("the database is busy")
        return outcome

    def give_up(self) -> None:
        """Somebody else needs the place."""
        self._lost = True
        if self._turn is not None:
            # Whoever asks for the place is in the middle of something.
            self._clock.callLater(0, self._stop_waiting)

    def _stop_waiting(self) -> None:
        if self._turn is not None:
            self._turn.cancel()

    def end(self) -> None:
        """It is over."""
        if self.place is not None:
            self.place.close()
