"""Starting in order, stopping in the reverse order, each step awaited, and all of them within a total."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

STOP_SECONDS = 9.0
"""What all steps of a stop take together at most: supervisors kill a process after ten seconds."""

Step = Callable[[], Any]
"""May return a Deferred or a coroutine, which is awaited."""


class _Part(NamedTuple):
    what: str
    undo: Step
    share: float


class Lifecycle:
    """What was started, and how to undo it within ``seconds``.

    Each step of a stop gets its share of the time that is left: what a quick step does not need is there for
    those after it. One that does not end in its time is logged and left behind, so that the steps after it
    (the database, above all) still get their orderly end.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float = STOP_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._starting: Deferred[None] | None = None
        self._deadline: float | None = None
        self._step_ends = 0.0
        self._parts: list[_Part] = []
        self._one_at_a_time = DeferredLock()

    async def start(self, parts: Coroutine[Any, Any, None]) -> float:
        """Await ``parts``, which start one after the other; answers how many seconds that took.

        What was started is stopped again when a later part cannot be. Raises whatever that part raised, or
        CancelledError when a stop came meanwhile.
        """
        began = self._clock.seconds()
        self._starting = Deferred.fromCoroutine(parts)
        try:
            await self._starting
        except BaseException:
            await self.stop()
            raise
        return self._clock.seconds() - began

    def started(self, what: str, undo: Step, share: float) -> None:
        """Note a part that runs now; ``undo`` stops it, and gets ``share`` of the time beside the others'."""
        self._parts.append(_Part(what, undo, share))

    async def stop(self) -> None:
        """Undo every step, the newest first; a start under way ends.

        Called again meanwhile, it waits until that is done.
        """
        if self._starting is not None:
            self._starting.cancel()
        if self._deadline is None:
            self._deadline = self._clock.seconds() + self._seconds
        async with self._one_at_a_time:
            while self._parts:
                seconds = self._time_for(self._parts[-1])
                await self._bounded(self._parts.pop(), seconds)

    @property
    def left(self) -> float:
        """Seconds until a stop, which has begun, is to be over."""
        assert self._deadline is not None
        return max(0.0, self._deadline - self._clock.seconds())

    @property
    def step_left(self) -> float:
        """Seconds until the step under way is left behind."""
        return max(0.0, self._step_ends - self._clock.seconds())

    def _time_for(self, part: _Part) -> float:
        return self.left * part.share / sum(each.share for each in self._parts)

    def _bounded(self, part: _Part, seconds: float) -> Deferred[None]:
        """Fires when the step ended, or its time did; the step itself is not cancelled."""
        over: Deferred[None] = Deferred()

        def give_up() -> None:
            self.log.error(
                "Stopping goes on without {what}, after {seconds:.1f} s", what=part.what, seconds=seconds
            )
            over.callback(None)

        self._step_ends = self._clock.seconds() + seconds
        timeout = self._clock.callLater(seconds, give_up)

        def ended(result: Any) -> None:
            if timeout.active():
                timeout.cancel()
                over.callback(None)

        running = maybeDeferred(_begin, part.undo)
        running.addErrback(self._failed, part.what)
        running.addBoth(ended)
        return over

    def _failed(self, failure: Any, what: str) -> None:
        self.log.failure("Stopping {what} failed", failure=failure, what=what)


def _begin(undo: Step) -> Any:
    begun = undo()
    return Deferred.fromCoroutine(begun) if inspect.iscoroutine(begun) else begun
