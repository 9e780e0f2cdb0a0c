"""Threads for calls that block: on files, which may be on a network, and libraries that know no other way."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from happy.base.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

MOST_UNDER_WAY: Final = 1000
"""Calls that are made or wait for a thread."""


class _Background(Thread):
    """Does not keep a process from ending: a file system may take long to not answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class Threads:
    """``size`` threads, apart from those that resolve host names. ``name`` is theirs, for debuggers."""

    def __init__(self, reactor: Any, size: int = 4, name: str = "objects") -> None:
        self._reactor = reactor
        self._under_way = 0
        self._pool = ThreadPool(0, size, name)
        self._pool.threadFactory = _Background

    def start(self) -> None:
        """Accept calls."""
        self._pool.start()

    def stop(self) -> Deferred[None]:
        """Fires when the calls under way have ended."""
        stopped: Deferred[None] = Deferred()

        def wait() -> None:
            self._pool.stop()
            self._reactor.callFromThread(stopped.callback, None)

        # Not in one of the reactor's threads, for whose work the end of the process waits.
        _Background(target=wait).start()
        return stopped

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The result of the call, made in one of the threads. Fails with Overloaded if too many wait."""
        if self._under_way >= MOST_UNDER_WAY:
            return fail(Overloaded("too many calls wait for a thread"))
        self._under_way += 1
        return deferToThreadPool(self._reactor, self._pool, call, *args, **kwargs).addBoth(self._ended)

    def _ended(self, result: T) -> T:
        self._under_way -= 1
        return result

    def within(self, seconds: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """As :meth:`run`, but failing with Overloaded when that takes more than ``seconds``.

        A call that has begun goes on, since nothing can end it, and keeps its thread; one that waited does
        nothing when its turn comes.
        """
        waiting: Deferred[T] = Deferred()
        timer = self._reactor.callLater(seconds, waiting.errback, Overloaded("a file system does not answer"))

        def in_time() -> T | None:
            return None if waiting.called else call(*args, **kwargs)

        def ended(result: Any) -> None:
            if not waiting.called:
                timer.cancel()
                waiting.callback(result)

        self.run(in_time).addBoth(ended)
        return waiting
