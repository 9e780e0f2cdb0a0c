"""Starting in order, stopping in the reverse order, each step awaited and none without an end."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

Step = Callable[[], Any]
"""May return a Deferred or a coroutine, which is awaited."""


class Lifecycle:
    """What was started, and how to undo it.

    A step that does not end within its bound is logged and left behind, so that the steps after it
    (the database, above all) still get their orderly end.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._undo: list[tuple[str, Step, float]] = []
        self._one_at_a_time = DeferredLock()

    def started(self, what: str, undo: Step, seconds: float) -> None:
        """Note a part that runs now; ``undo`` stops it, and may take ``seconds``."""
        self._undo.append((what, undo, seconds))

    async def stop(self) -> None:
        """Undo every step, the newest first; called again meanwhile, wait until that is done."""
        async with self._one_at_a_time:
            while self._undo:
                what, undo, seconds = self._undo.pop()
                await self._bounded(what, undo, seconds)

    def _bounded(self, what: str, undo: Step, seconds: float) -> Deferred[None]:
        """Fires when the step ended, or its time did; the step itself is not cancelled."""
        over: Deferred[None] = Deferred()

        def give_up() -> None:
            self.log.error("Stopping goes on without {what}, after {seconds} s", what=what, seconds=seconds)
            over.callback(None)

        timeout = self._clock.callLater(seconds, give_up)

        def ended(result: Any) -> None:
            if timeout.active():
                timeout.cancel()
                over.callback(None)

        running = maybeDeferred(_begin, undo)
        running.addErrback(self._failed, what)
        running.addBoth(ended)
        return over

    def _failed(self, failure: Any, what: str) -> None:
        self.log.failure("Stopping {what} failed", failure=failure, what=what)


def _begin(undo: Step) -> Any:
    begun = undo()
    return Deferred.fromCoroutine(begun) if inspect.iscoroutine(begun) else begun
