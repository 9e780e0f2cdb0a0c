"""Work that its caller may stop waiting for, but not stop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.driving import drive
from happy.faults import describe_fault

T = TypeVar("T")
_log = Logger()


def shield(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """The work's outcome. Cancelling the answer drops the outcome; the work goes on to its end."""
    abandoned = False

    def abandon(_: Deferred[T]) -> None:
        nonlocal abandoned
        abandoned = True

    def failed(error: BaseException) -> None:
        if abandoned:
            fault = describe_fault(error)
            _log.warn("work nobody waits for any more failed: {fault}", fault=fault)
        else:
            waiting.errback(error)

    def done(result: T) -> None:
        if not abandoned:
            waiting.callback(result)

    waiting: Deferred[T] = Deferred(abandon)
    drive(work, done, failed)
    return waiting
