"""Which accounts this node hears of: those with clients here, and for a while those that had some.

An account is hosted from its first client on. Its channel is subscribed to first; then its number is read:
what is committed later is also said later, and so heard, and what was committed before the client can fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred

from happy.base.expiry import Expiry
from happy.base.waiting import within
from happy.cluster.bus import account_channel
from happy.cluster.feed import Feed, FeedOwner
from happy.cluster.roster import Roster

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.cluster.bus import Bus

LOOK_SECONDS: Final = 30.0
"""How often it is looked whether an account still has clients: most of them come back soon."""

HOST_SECONDS: Final = 5.0
"""How long a first client waits until its account is hosted."""

NO_MACHINES: Final[frozenset[str]] = frozenset()
"""What most accounts have of them: an empty set of each one's own would be a fifth of what it takes."""


class Hosted:
    """An account with clients here: what they hear next, and what other nodes have of it.

    A node has as many as it has clients, so nothing is made for what most of them do not have.
    """

    __slots__ = ("account", "asked", "deadline", "feed", "hosting", "machines", "roster", "seen", "waiting")

    def __init__(self, hosting: Hosting, account: str, feed: Feed) -> None:
        self.hosting = hosting
        self.account = account
        self.feed = feed
        self.roster = Roster()
        self.seen = (False, False)
        self.machines = NO_MACHINES
        """What the others were told: whether there are users, and whether they look; and which machines."""
        self.waiting: list[Deferred[None]] | None = []
        """Who waits until it is hosted; None once it is."""
        self.deadline: int | None = None
        self.asked: float | None = None
        """When the others were asked what they have of it; None while they are still to be."""

    def look(self) -> None:
        """See now and then whether it is still needed."""
        self.deadline = None
        self.hosting.look(self)


class Hosting:
    """The accounts hosted here."""

    def __init__(
        self,
        bus: Bus,
        owner: FeedOwner,
        clock: IReactorTime,
        *,
        number: Callable[[str], Deferred[int]],
        joined: Callable[[Hosted], None],
        left: Callable[[Hosted], None],
        needed: Callable[[Hosted], bool],
    ) -> None:
        """``number`` reads an account's number.

        ``joined`` is told when an account is hosted from now on, ``left`` when it is no longer, because it is
        not ``needed``.
        """
        self._bus = bus
        self._owner = owner
        self._clock = clock
        self._number = number
        self._joined = joined
        self._left = left
        self._needed = needed
        self._accounts: dict[str, Hosted] = {}
        self._reading: dict[str, Deferred[int]] = {}
        self._looks = Expiry(clock, LOOK_SECONDS)

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Hosted]:
        return iter(list(self._accounts.values()))

    def get(self, account: str) -> Hosted | None:
        """The account, if it is hosted or about to be."""
        return self._accounts.get(account)

    def feeds(self) -> list[Feed]:
        """The feeds of all of them."""
        return [hosted.feed for hosted in self._accounts.values()]

    @property
    def held_back(self) -> int:
        """How many updates wait for those before them."""
        return sum(len(hosted.feed.waiting) for hosted in self._accounts.values())

    @property
    def unconfirmed(self) -> int:
        """How many accounts are about to be hosted."""
        return sum(hosted.waiting is not None for hosted in self._accounts.values())

    def host(self, account: str) -> Deferred[None] | None:
        """Fires when the account is hosted, at least for a while; None if it is.

        Fails with TimeoutError if that takes too long.
        """
        hosted = self._accounts.get(account)
        if hosted is None:
            hosted = self._accounts[account] = Hosted(self, account, Feed(account, self._owner, self._clock))
            up = self._bus.up
            self._bus.subscribe([account_channel(account)])
            if not up:
                self._read(hosted)
        if hosted.waiting is None:
            return None
        waiting: Deferred[None] = Deferred()
        hosted.waiting.append(waiting)
        return self._bounded(hosted, within(HOST_SECONDS, waiting, self._clock))

    def confirmed(self, account: str) -> None:
        """Whatever is said of the account from now on is heard."""
        hosted = self._accounts.get(account)
        if hosted is not None and hosted.waiting is not None:
            self._read(hosted)

    def lost(self) -> None:
        """Nothing will be confirmed: what is missed is looked for once the bus is back."""
        for hosted in self:
            if hosted.waiting is not None:
                self._read(hosted)

    def stop(self) -> None:
        """Forget all of them."""
        self._looks.stop()
        for hosted in self:
            hosted.feed.end()

    def _read(self, hosted: Hosted) -> None:
        if hosted.account not in self._reading:
            reading = self._reading[hosted.account] = self._number(hosted.account)
            reading.addCallbacks(self._counted, _given_up, (hosted,))

    def _counted(self, number: int, hosted: Hosted) -> None:
        self._reading.pop(hosted.account, None)
        if self._accounts.get(hosted.account) is not hosted or hosted.waiting is None:
            return
        waiting, hosted.waiting = hosted.waiting, None
        hosted.feed.join(number)
        self._joined(hosted)
        hosted.deadline = self._looks.add(hosted.look)
        for one in waiting:
            if not one.called:
                one.callback(None)

    def _bounded(self, hosted: Hosted, waiting: Deferred[None]) -> Deferred[None]:
        """Let the next one try from the beginning, if nobody waits any more."""

        def gave_up(failure: Failure) -> Failure:
            if hosted.waiting is not None and all(one.called for one in hosted.waiting):
                self._leave(hosted)
            return failure

        return waiting.addErrback(gave_up)

    def look(self, hosted: Hosted) -> None:
        """Host an account no longer that is not needed."""
        if self._needed(hosted):
            hosted.deadline = self._looks.add(hosted.look)
        else:
            self._leave(hosted)

    def _leave(self, hosted: Hosted) -> None:
        del self._accounts[hosted.account]
        if (reading := self._reading.pop(hosted.account, None)) is not None:
            reading.cancel()
        self._bus.unsubscribe([account_channel(hosted.account)])
        hosted.feed.end()
        self._left(hosted)
        if hosted.deadline is not None:
            self._looks.drop(hosted.deadline)


def _given_up(failure: Failure) -> None:
    """Nobody waits for the number any more."""
    failure.trap(CancelledError)
