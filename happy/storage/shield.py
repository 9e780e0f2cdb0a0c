"""Work that its caller may stop waiting for, but not stop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.faults import describe_fault

T = TypeVar("T")
_log = Logger()


def shield(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """The work's outcome. Cancelling the answer drops the outcome; the work goes on to its end."""
    abandoned = False

    def abandon(_: Deferred[T]) -> None:
        nonlocal abandoned
        abandoned = True

    def failed(failure: Failure) -> None:
        if abandoned:
            assert failure.value is not None
            fault = describe_fault(failure.value)
            _log.warn("work nobody waits for any more failed: {fault}", fault=fault)
        else:
            waiting.errback(failure)

    def done(result: T) -> None:
        if not abandoned:
            waiting.callback(result)

    waiting: Deferred[T] = Deferred(abandon)
    Deferred.fromCoroutine(work).addCallbacks(done, failed)
    return waiting
