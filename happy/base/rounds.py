"""Work that is done again and again, and that no single round can end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.base.waiting import within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


class Rounds:
    """Does ``work`` every ``seconds``, one round at a time.

    A ``LoopingCall`` alone ends with the first round that fails, and waits for ever for one without an end.
    Here a round that fails is logged, and one that takes longer than ``patience`` seconds is cancelled and
    left behind; the next one comes in either case. ``what`` names the work in the log.
    """

    _log = Logger()

    def __init__(
        self,
        what: str,
        work: Callable[[], Coroutine[Deferred[Any], Any, None]],
        clock: IReactorTime,
        *,
        seconds: float,
        patience: float,
    ) -> None:
        self._work = work
        self._clock = clock
        self._seconds = seconds
        self._patience = patience
        self._trouble = Trouble(self._log, what, clock)
        self._loop: LoopingCall | None = None
        self._working: Deferred[None] | None = None

    def start(self, *, at_once: bool = False) -> None:
        """Begin, with a first round now or after the usual time."""
        self._loop = LoopingCall(self._round)
        self._loop.clock = self._clock
        self._loop.start(self._seconds, now=at_once)

    def stop(self) -> None:
        """No further rounds; one under way is cancelled, as if its time were up."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._working is not None:
            self._working.cancel()

    def _round(self) -> Deferred[None]:
        self._working = within(self._patience, Deferred.fromCoroutine(self._work()), self._clock)
        working = self._working.addBoth(self._over)
        return working.addCallbacks(self._worked, self._failed)

    def _over(self, outcome: T) -> T:
        self._working = None
        return outcome

    def _worked(self, _: None) -> None:
        self._trouble.over()

    def _failed(self, failure: Any) -> None:
        if failure.check(CancelledError):  # by a stop
            return
        self._trouble.again(describe_fault(failure.value))
