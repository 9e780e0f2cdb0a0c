"""The updates of one account, as the clients of this node are to hear them: all of them, once, in order.

They come from this node's own commits, over the bus, and out of the log, each way in any order and with
repetitions. An account's numbers have no gaps (decision 4), so what comes next is known: anything else waits,
or is a repetition. What is missing is read from the log, and where that has a gap too, the account's clients
begin anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from happy.realtime.updates import Audience
from happy.storage.pieces import InPieces

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

GAP_SECONDS: Final = 0.05
"""How long a number may be missing before it is looked for: most come over the bus a little later."""

MAX_WAITING: Final = 1_000
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""What may wait for a missing number. What is more is dropped, and read from the log."""

MAX_BEHIND: Final = 10_000
"""Numbers that are told after they were missed; with more of them, clients are better off fetching anew."""


class Told(Struct, frozen=True, gc=False):
    """An update as it is sent; without a ``payload`` there is nothing to tell any more.

    ``skip`` is the id of the socket that must not hear it.
    """

    seq: int
    audience: Audience
    payload: bytes | InPieces | None
    skip: str | None = None


class FeedOwner(Protocol):
    """What feeds are made for."""

    def tell(self, told: Told) -> None:
        """Deliver an update to clients of this node. Must not raise anything."""

    def ask(self, feed: Feed) -> None:
        """Read what the log has, from ``feed.next`` on, and call :meth:`Feed.filled`."""

    def cut(self, account: str) -> None:
        """Let the account's clients begin anew. Must not raise anything."""

    def arrived(self) -> None:
        """What was missing came by itself. Must not raise anything."""


class Feed:
    """The numbers of one account: ``next`` is the one that its clients hear next, None before they joined."""

    __slots__ = (
        "_again",
        "_bytes",
        "_clock",
        "_dropped",
        "_owner",
        "_timer",
        "_twice",
        "_watchers",
        "account",
        "ended",
        "next",
        "waiting",
    )

    def __init__(self, account: str, owner: FeedOwner, clock: IReactorTime) -> None:
        self.account = account
        self.next: int | None = None
        self.ended = False
        self.waiting: dict[int, Told] = {}
        self._again = 0
        """Up to here a number may still come over the bus that was told already, as the log has it."""
        self._bytes = 0
        self._dropped = self._twice = False
        self._owner = owner
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._watchers: dict[Deferred[None], int] | None = None

    def offer(self, told: Told, *, local: bool = False) -> None:
        """An update was committed, by this node if ``local``. Never waits, never fails."""
        if told.seq == self.next and not self.waiting:  # as good as always
            self._tell(told)
            if self._watchers:
                self._fire(self.next)
            return
        missing = bool(self.waiting)
        self._offer(told, local=local)
        if missing and not self.waiting and not self.ended:
            self._owner.arrived()

    def _offer(self, told: Told, *, local: bool = False) -> None:
        if self.ended:
            return
        expected = self.next
        if told.seq == expected:
            self._tell(told)
            self._go_on()
        elif expected is None or told.seq > expected:
            self._keep(told)
            if expected is not None:
                self._be_patient()
                if local or self._dropped:
                    self._owner.ask(self)
        elif local:
            # A fill may have been faster than COMMIT's answer; or else the database went back.
            self._owner.ask(self)
        else:
            self._wonder(told.seq)

    def wake(self, seq: int) -> None:
        """Another node took a number; what it tells has to be read from the log."""
        if self.next is not None and seq < self.next:
            self._wonder(seq)
        else:
            self.exists(seq)

    def _wonder(self, seq: int) -> None:
        """The bus tells a number once: one that was told already, and not out of the log, was taken twice,
        since the database went back."""
        if seq > self._again:
            self._twice = True
            self._owner.ask(self)

    def exists(self, seq: int) -> None:
        """A number was taken; what it tells has to be read from the log."""
        if self.next is None:
            self._dropped = True
        elif seq >= self.next:
            self._owner.ask(self)

    def join(self, latest: int) -> None:
        """Begin after ``latest``, which was read when whatever is committed later was heard already."""
        self.next = latest + 1
        self._again = latest
        self._forget_up_to(latest)
        self._go_on()
        if self._dropped:
            self._owner.ask(self)

    def filled(
        self, since: int, found: Iterable[Told], covered: int, latest: int, known: Collection[int] = ()
    ) -> bool:
        """What the log has from ``since`` on: everything there is up to ``covered``.

        ``latest`` is the account's number, and ``known`` are those that waited when this was asked: what is
        told is committed before, so any of them above ``latest`` the database has lost since, or never had.
        Whether there is more to ask for.
        """
        assert self.next is not None
        self._dropped = False
        if latest < since - 1 or self._twice:
            self._twice = False
            self.waiting.clear()  # The database went back: nobody knows which of them are still true.
            self._bytes = 0
            self._cut(latest)
            return True
        self._forget(seq for seq in known if seq > latest)
        found = list(found)
        self._again = max([self._again, *(told.seq for told in found)])
        self._forget(told.seq for told in found)  # The log is right, should it say something else.
        if latest - self.next >= MAX_BEHIND:
            self._cut(latest)
        for told in found:
            self._offer(told)
        if self.next <= covered:
            self._cut(latest)  # It was committed, and is in no row.
        return self.next <= latest or self._dropped

    def behind(self, seq: int) -> bool:
        """Whether clients have not been told yet of everything up to a number."""
        return self.next is not None and self.next <= seq

    def passed(self, seq: int) -> Deferred[None] | None:
        """Fires when clients have been told of everything up to a number; None if they were."""
        if not self.behind(seq):
            return None
        if self._watchers is None:
            self._watchers = {}
        passed = Deferred[None](self._watchers.__delitem__)
        self._watchers[passed] = seq
        return passed

    def reach(self, seq: int) -> Deferred[None] | None:
        """As :meth:`passed`, of a number that was taken, whether or not it was said."""
        self.exists(seq)
        return self.passed(seq)

    def end(self) -> None:
        """Nobody is told anything any more."""
        self.ended = True
        self.next = None
        self.waiting.clear()
        self._stop_waiting()
        self._fire(None)

    def _tell(self, told: Told) -> None:
        self.next = told.seq + 1
        if told.payload is not None:
            self._owner.tell(told)

    def _go_on(self) -> None:
        """Tell what waited for its turn."""
        while (told := self.waiting.pop(self.next or 0, None)) is not None:
            self._bytes -= _size(told)
            self._tell(told)
        self._be_patient()
        if self._watchers:
            self._fire(self.next)

    def _keep(self, told: Told) -> None:
        if told.seq in self.waiting:
            return
        size = _size(told)
        if len(self.waiting) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            self._dropped = True
            return
        self.waiting[told.seq] = told
        self._bytes += size

    def _be_patient(self) -> None:
        """Look in a while whether a number is still missing, if any is."""
        if not self.waiting:
            self._stop_waiting()
        elif self._timer is None:
            self._timer = self._clock.callLater(GAP_SECONDS, self._missing, self.next)

    def _missing(self, expected: int | None) -> None:
        """The time is over that a number may be missing."""
        self._timer = None
        if self.next == expected:
            self._owner.ask(self)
        self._be_patient()

    def _cut(self, latest: int) -> None:
        self._owner.cut(self.account)
        self.next = latest + 1
        self._again = latest
        self._forget_up_to(latest)
        self._go_on()

    def _forget_up_to(self, latest: int) -> None:
        self._forget([seq for seq in self.waiting if seq <= latest])

    def _forget(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            if (told := self.waiting.pop(seq, None)) is not None:
                self._bytes -= _size(told)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self, following: int | None) -> None:
        """Tell those who wait for a number before ``following``, or everybody."""
        watchers = self._watchers or {}
        due = [passed for passed, seq in watchers.items() if following is None or seq < following]
        for passed in due:
            del watchers[passed]
        for passed in due:
            if not passed.called:
                passed.callback(None)


def _size(told: Told) -> int:
    return len(told.payload or b"")
