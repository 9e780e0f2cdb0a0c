"""What is told to the clients of an account, in order, when that is more than fits in a turn of the reactor.

An account with thousands of clients, or one that tells them much, has a line of its own, which goes on in
turn with all others' (:mod:`happy.base.pace`). While there is a line, everything of its account joins it:
so no update overtakes another, and whoever is to be answered after an update is. Passing signals come last,
and of each of them the latest: there is no end of them, and nobody waits for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from happy.base.pace import Pace

Work = Iterator[None]
"""Something that is done step by step, each of which takes a moment."""

MOST_SIGNALS: Final = 1_000
"""Passing signals that wait in a line."""

_log = Logger()


class _Line:
    """What waits of one account: ``works`` in order, then ``signals``, the latest of each key."""

    __slots__ = ("_ended", "_owner", "_pace", "signals", "works")

    def __init__(self, pace: Pace, owner: str, ended: Callable[[], None]) -> None:
        self._pace = pace
        self._owner = owner
        self._ended = ended
        self.works: deque[Work] = deque()
        self.signals: dict[Hashable, Work] = {}
        pace.wait(owner, self)

    def go_on(self) -> None:
        """See :class:`happy.base.pace.Waiter`."""
        works, signals = self.works, self.signals
        while works or signals:
            if not works:
                works.append(signals.pop(next(iter(signals))))
            try:
                next(works[0])
            except StopIteration:
                works.popleft()
            except Exception:
                # A fault of ours must not keep back what comes after it.
                _log.failure("Telling an account's clients failed")
                works.popleft()
            if (works or signals) and self._pace.over():
                self._pace.wait(self._owner, self)
                return
        self._ended()


class Lines:
    """The lines of the accounts that have one."""

    def __init__(self, pace: Pace | None, owner_of: Callable[[str], str]) -> None:
        """``owner_of`` names an account among those who wait; without ``pace`` nobody ever does."""
        self._pace = pace
        self._owner_of = owner_of
        self._lines: dict[str, _Line] = {}

    def free(self, account: str) -> bool:
        """Whether there is time for something of the account, and nothing before it."""
        return account not in self._lines and (self._pace is None or not self._pace.over())

    def begin(self, account: str, work: Work) -> None:
        """Work while there is time, and go on later. The account must be free."""
        for _ in work:
            if self._pace is not None and self._pace.over():
                self.put(account, work)
                return

    def put(self, account: str, work: Work) -> None:
        """Work when it is its turn."""
        self._line(account).works.append(work)

    def put_latest(self, account: str, key: Hashable, work: Work) -> bool:
        """Work when there is nothing else to do, unless the ``key`` is given something else until then.

        False when too much of that kind waits.
        """
        signals = self._line(account).signals
        if key not in signals and len(signals) >= MOST_SIGNALS:
            return False
        signals[key] = work
        return True

    def after(self, account: str, act: Callable[..., object], *arguments: object) -> None:
        """Act when the account's clients have been told of every update before: now, if they have."""
        # As `free` says; this is called twice a message.
        if account not in self._lines and (self._pace is None or not self._pace.over()):
            act(*arguments)
        else:
            self.put(account, _once(act, arguments))

    def told(self, account: str) -> Deferred[None] | None:
        """Fires when the account's clients have been told of every update before; None if they have."""
        if account not in self._lines:
            return None
        told: Deferred[None] = Deferred()
        self.put(account, _once(told.callback, (None,)))
        return told

    def signals_wait(self, account: str) -> bool:
        """Whether there are signals that the account's clients have not been told yet."""
        line = self._lines.get(account)
        return line is not None and bool(line.signals)

    def _line(self, account: str) -> _Line:
        line = self._lines.get(account)
        if line is None:
            assert self._pace is not None
            owner = self._owner_of(account)
            line = self._lines[account] = _Line(self._pace, owner, lambda: self._end(account))
        return line

    def _end(self, account: str) -> None:
        del self._lines[account]


def _once(act: Callable[..., object], arguments: tuple[object, ...]) -> Work:
    act(*arguments)
    yield from ()
