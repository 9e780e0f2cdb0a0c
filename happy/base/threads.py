"""Threads for calls that block: on files, which may be on a network, and libraries that know no other way.

Calls wait in a line of their owner's, and the lines are served in turn. One owner's calls have at most half
of the threads, and no more than are left for others: so whoever asks for what takes long keeps the others
waiting for one call of its own, and the last threads go to those who have none.

A call cannot be ended from outside. So one that takes long makes room instead: while somebody waits, there is
one more thread for each of these, for owners who have none.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from happy.base.errors import Overloaded

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

P = ParamSpec("P")
T = TypeVar("T")

MOST_UNDER_WAY: Final = 1000
"""Calls that are made or wait for a thread; half of them are for one owner."""

SLOW: Final = 0.1
"""Seconds after which a call takes long: so long somebody waits for a thread that others keep."""

MOST_SLOW: Final = 28
"""Calls that take long and have a thread made up for. All together are not so many that the one that runs the
reactor, which has a turn as each of them has, would notice."""

SWITCH_SECONDS: Final = 0.0002
"""How long a thread may go on computing while another wants to. The reactor's thread gives the interpreter
away with each packet that it sends or reads, and with Python's 5 ms may wait so long for it each time."""

PROGRAM: Final = ""
"""The owner of what the program does for itself, which may have all threads."""

_Waiting = tuple[Callable[[], Any], "Deferred[Any]"]
"""A call, and who waits for its result."""


def share_evenly() -> Callable[[], None]:
    """Let threads of this process take turns of :data:`SWITCH_SECONDS`; answers what undoes it."""
    former = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    return partial(sys.setswitchinterval, former)


class _Background(Thread):
    """Does not keep a process from ending: a file system may take long to not answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class Threads:
    """``size`` threads for what ends soon, apart from those that resolve host names.

    ``name`` is theirs, for debuggers.
    """

    def __init__(self, reactor: Any, size: int = 4, name: str = "objects") -> None:
        self._reactor = reactor
        self._size = size
        self._under_way = 0
        self._busy: Counter[str] = Counter()
        self._begun: dict[Deferred[Any], float] = {}
        """Calls in a thread, and since when."""
        self._lines: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._look_again: IDelayedCall | None = None
        self._pool = ThreadPool(0, size + MOST_SLOW, name)
        self._pool.threadFactory = _Background

    def start(self) -> None:
        """Accept calls."""
        self._pool.start()

    def stop(self) -> Deferred[None]:
        """Fires when the calls under way have ended."""
        stopped: Deferred[None] = Deferred()
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

        def wait() -> None:
            self._pool.stop()
            self._reactor.callFromThread(stopped.callback, None)

        # Not in one of the reactor's threads, for whose work the end of the process waits.
        _Background(target=wait).start()
        return stopped

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The result of the call, made in one of the threads. Fails with Overloaded if too many wait."""
        return self.run_for(PROGRAM, call, *args, **kwargs)

    def run_for(self, owner: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """As :meth:`run`, for ``owner``, who waits behind what it asked for before."""
        return self._take(owner, partial(call, *args, **kwargs))

    def within(self, seconds: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """As :meth:`run`, but failing with Overloaded when that takes more than ``seconds``.

        A call that has begun goes on, since nothing can end it, and keeps its thread; one that waited does
        nothing when its turn comes.
        """
        return self.within_for(PROGRAM, seconds, call, *args, **kwargs)

    def within_for(
        self, owner: str, seconds: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """As :meth:`within`, for ``owner``, who waits behind what it asked for before."""
        waiting: Deferred[T] = Deferred()
        timer = self._reactor.callLater(seconds, waiting.errback, Overloaded("a file system does not answer"))

        def in_time() -> T | None:
            return None if waiting.called else call(*args, **kwargs)

        def ended(result: Any) -> None:
            if not waiting.called:
                timer.cancel()
                waiting.callback(result)

        self._take(owner, in_time).addBoth(ended)
        return waiting

    def _take(self, owner: str, call: Callable[[], T]) -> Deferred[T]:
        line = self._lines.get(owner, ())
        own = 0 if owner == PROGRAM else len(line) + self._busy[owner]
        if self._under_way >= MOST_UNDER_WAY or own >= MOST_UNDER_WAY // 2:
            return fail(Overloaded("too many calls wait for a thread"))
        self._under_way += 1
        made: Deferred[T] = Deferred()
        self._lines.setdefault(owner, deque()).append((call, made))
        self._begin_some()
        return made

    def _begin_some(self) -> None:
        """Begin calls as long as there are threads for them."""
        now = self._reactor.seconds()
        slow = sum(now - begun >= SLOW for begun in self._begun.values())
        threads = self._size + min(slow, MOST_SLOW)
        while len(self._begun) < threads:
            owner = next(filter(self._may_begin, self._lines), None)
            if owner is None:
                break
            self._begin(owner, now)
        self._look_later(now)

    def _look_later(self, now: float) -> None:
        """If anybody waits, look again when the next call takes long."""
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        oldest = next((begun for begun in self._begun.values() if now - begun < SLOW), None)
        if self._lines and oldest is not None:
            self._look_again = self._reactor.callLater(oldest + SLOW - now, self._look)

    def _look(self) -> None:
        """Some of the calls take long by now."""
        self._look_again = None
        self._begin_some()

    def _begin(self, owner: str, now: float) -> None:
        line = self._lines.pop(owner)
        call, made = line.popleft()
        if line:
            self._lines[owner] = line
        self._busy[owner] += 1
        self._begun[made] = now
        deferToThreadPool(self._reactor, self._pool, call).addBoth(self._ended, owner, made)

    def _may_begin(self, owner: str) -> bool:
        busy = self._busy.get(owner, 0)
        return owner == PROGRAM or not busy or busy < self._size - len(self._begun)

    def _ended(self, result: Any, owner: str, made: Deferred[Any]) -> None:
        self._under_way -= 1
        del self._begun[made]
        self._busy[owner] -= 1
        if not self._busy[owner]:
            del self._busy[owner]
        self._begin_some()
        made.callback(result)
