"""Running coroutines that nobody holds a Deferred of.

``Deferred.fromCoroutine`` makes a Deferred, a copy of the context and a cancellation record for each
coroutine. Handlers of events, by the tens of thousands a second, need none of them: they are never
cancelled, and most of them end without waiting for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Outcome(Deferred[T]):
    """A Deferred that takes fewer steps when :func:`drive` waits for it; then nobody else may."""

    _waiting: Callable[[T | Failure], None] | None = None

    def settle(self, outcome: T | Failure) -> None:
        """As ``callback``, and as ``errback`` for a Failure."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            self.callback(outcome)
        else:
            self.called = True
            if not isinstance(outcome, Failure):
                self.result = outcome  # where awaiting finds it; a failure is thrown instead
            waiting(outcome)

    def settled(self, waiting: Callable[[T | Failure], None]) -> None:
        """Call ``waiting`` with the outcome, which is dealt with thereby. Nothing may be added besides."""
        if self.called:
            self.addBoth(waiting)
        else:
            self._waiting = waiting


def drive(
    work: Coroutine[Deferred[Any], Any, T],
    done: Callable[[T], None],
    failed: Callable[[BaseException], None],
) -> None:
    """Run ``work``, which may await Deferreds, until it ends; then call ``done`` or ``failed``, once.

    Both are called before this returns when the work waits for nothing. What they raise is theirs.
    """
    _resume(work, done, failed, None)


def outcome_of(work: Coroutine[Deferred[Any], Any, T]) -> Outcome[T]:
    """What ``work`` comes to, which is run as by :func:`drive`; cancelling it has no effect on the work."""
    outcome: Outcome[T] = Outcome()
    drive(work, outcome.settle, lambda error: outcome.settle(Failure(error)))
    return outcome


def _resume(
    work: Coroutine[Deferred[Any], Any, T],
    done: Callable[[T], None],
    failed: Callable[[BaseException], None],
    outcome: object,
) -> None:
    failure = outcome if isinstance(outcome, Failure) else None
    try:
        waits_for = work.send(None) if failure is None else work.throw(_error_of(failure))
    except StopIteration as end:
        done(end.value)
    except BaseException as error:
        # Not with this frame in its traceback: it has the failure, and so do those that called it.
        failed(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
    else:
        # Answering None says that the outcome, a failure too, is dealt with.
        add = waits_for.settled if type(waits_for) is Outcome else waits_for.addBoth
        add(partial(_resume, work, done, failed))
    if failure is not None and failure.value is not None:
        # From Python 3.12 on, the frames of a traceback keep those that called them, which have the failure.
        failure.value.__traceback__ = failure.tb


def _error_of(failure: Failure) -> BaseException:
    """What failed. The failure's own way to throw it leaves a frame in the traceback that has the failure."""
    assert failure.value is not None
    return failure.value.with_traceback(failure.tb)
