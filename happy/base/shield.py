"""Work that its caller may stop waiting for, but not stop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.base.coroutines import drive
from happy.base.redaction import describe_fault

T = TypeVar("T")
_log = Logger()


class Shield(Deferred[T]):
    """The outcome of work. Cancelling it drops the outcome; the work goes on to its end."""

    def __init__(self) -> None:
        super().__init__(_abandon)
        self._abandoned = False

    def around(self, work: Coroutine[Deferred[Any], Any, T]) -> Shield[T]:
        """Begin the work; answers itself."""
        drive(work, self._done, self._failed)
        return self

    def abandon(self, error: Exception) -> None:
        """Answer before the work ends; what comes of it is dropped."""
        if not self._abandoned and not self.called:
            self._abandoned = True
            self.errback(error)

    def _done(self, result: T) -> None:
        if not self._abandoned:
            self.callback(result)

    def _failed(self, error: BaseException) -> None:
        if self._abandoned:
            fault = describe_fault(error)
            _log.warn("work nobody waits for any more failed: {fault}", fault=fault)
        else:
            self.errback(error)


def _abandon(shield: Any) -> None:
    shield._abandoned = True
