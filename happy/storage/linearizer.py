"""Queues by key: what must happen in order to one account happens one after another.

The database orders commits; that they are heard of in the same order is up to this process. So a writer holds
its accounts from before it begins until its own updates are delivered.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, TimeoutError, succeed

from happy.base.errors import Overloaded
from happy.base.waiting import OneByOne, within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

MOST_WAITING: Final = 500
"""Of those who want several keys, how many may wait for one of them that is somebody else's: as many as have
their turns while a call may wait."""

REMEMBERED: Final = 1000
"""Turns with others' keys of which it is remembered who had them, and as many before these."""


class _Lately:
    """Who had how many of the latest turns."""

    def __init__(self) -> None:
        self._turns: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._noted = 0

    def note(self, owner: str) -> None:
        """One more is an owner's."""
        if self._noted == REMEMBERED:
            self._before, self._turns, self._noted = self._turns, Counter(), 0
        self._turns[owner] += 1
        self._noted += 1

    def of(self, owner: str) -> int:
        """How many an owner had."""
        return self._turns[owner] + self._before[owner]


class Release:
    """Gives back keys that were held, each of them once."""

    __slots__ = ("_keys", "_linearizer")

    def __init__(self, linearizer: Linearizer, keys: frozenset[str]) -> None:
        self._linearizer = linearizer
        self._keys = keys

    def __call__(self) -> None:
        """All that are left."""
        keys, self._keys = self._keys, frozenset()
        if keys:
            self._linearizer.give_back(keys)

    def part(self, key: str) -> None:
        """One of them."""
        if key in self._keys:
            self._keys -= {key}
            self._linearizer.give_back(frozenset((key,)))


class _Wait:
    """Somebody who waits for keys, all of which are his when it is ``over``, before ``granted`` fires."""

    __slots__ = ("granted", "keys", "over", "owner")

    def __init__(self, keys: frozenset[str], owner: str, gone: Callable[[_Wait], None]) -> None:
        self.keys = keys
        self.owner = owner
        self.over = False
        self.granted: Deferred[None] = Deferred(lambda _: gone(self))


class Linearizer:
    """Exclusive holds on sets of keys.

    Who wants one key gets it in the order of asking. Who wants several gets all of them at the same moment,
    and holds none while it waits for the others: so nobody blocks each other for ever, and nobody's key waits
    for somebody else's. Of those who wait for a key, the first who wants it alone and the first who wants
    more take turns: whoever acts on other accounts delays one thing of theirs at a time, however often it
    asks. Among those who want more, the key's owner comes before others, and is never one too many; then come
    those who had fewest turns with others' keys lately. When too many wait, whoever had most gives way.
    """

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._alone: dict[str, deque[_Wait]] = {}
        self._several: dict[str, dict[_Wait, None]] = {}
        self._others_turn: set[str] = set()
        self._lately = _Lately()
        self._turns = OneByOne()

    async def acquire(self, keys: Iterable[str], owner: str = "") -> Release:
        """Wait for every key, for ``owner``, which may be one of them; answers what gives them back.

        Raises Overloaded when too many wait for several keys of which this is one. A wait may be cancelled.
        """
        return await self.wait(keys, owner)

    async def acquire_within(self, seconds: float, keys: Iterable[str], clock: IReactorTime) -> Release:
        """As :meth:`acquire`; raises Overloaded when it takes longer."""
        try:
            return await within(seconds, self.wait(keys), clock)
        except TimeoutError:
            raise Overloaded("too much comes first") from None

    def wait(self, keys: Iterable[str], owner: str = "") -> Deferred[Release]:
        """As :meth:`acquire`, without a coroutine: one that is cancelled leaves a cycle of objects behind."""
        wanted = frozenset(keys)
        release = self.try_acquire(wanted)
        if release is not None:
            return succeed(release)
        granted = self._enqueue(_Wait(wanted, owner, self._cancelled)).granted
        return granted.addCallback(lambda _: Release(self, wanted))

    def try_acquire(self, keys: Iterable[str]) -> Release | None:
        """Every key at once, or None when one of them is held."""
        wanted = frozenset(keys)
        if not self._held.isdisjoint(wanted):
            return None
        self._held |= wanted
        return Release(self, wanted)

    def held(self, key: str) -> bool:
        """Whether someone holds the key."""
        return key in self._held

    @property
    def waiting(self) -> int:
        """How many wait for a key that they want alone."""
        return sum(map(len, self._alone.values()))

    def _enqueue(self, wait: _Wait) -> _Wait:
        keys = wait.keys
        if len(keys) == 1:
            (key,) = keys
            self._alone.setdefault(key, deque()).append(wait)
            return wait
        full = [key for key in keys if key != wait.owner and len(self._several.get(key, ())) >= MOST_WAITING]
        yielding = {self._who_yields(key, wait.owner) for key in full}
        for key in keys:
            self._several.setdefault(key, {})[wait] = None
        for one in yielding:
            self._leave(one)
        for one in yielding:
            one.granted.errback(Overloaded("others come first who did not do as much"))
        return wait

    def _who_yields(self, key: str, asking: str) -> _Wait:
        """Of those who wait for a key, who had most turns lately. Raises Overloaded if that is who asks."""
        others = (wait for wait in reversed(self._several[key]) if wait.owner != key)
        most = max(others, key=lambda wait: self._lately.of(wait.owner))
        if self._lately.of(most.owner) <= self._lately.of(asking):
            raise Overloaded("too many wait for the same account")
        return most

    def _cancelled(self, wait: _Wait) -> None:
        if wait.over:
            self.give_back(wait.keys)
        else:
            self._leave(wait)

    def _leave(self, wait: _Wait) -> None:
        """A wait is over."""
        if len(wait.keys) == 1:
            (key,) = wait.keys
            self._alone[key].remove(wait)
            if not self._alone[key]:
                del self._alone[key]
            return
        for key in wait.keys:
            del self._several[key][wait]
            if not self._several[key]:
                del self._several[key]
                self._others_turn.discard(key)

    def give_back(self, keys: frozenset[str]) -> None:
        """Let others have keys that were held; for :class:`Release`."""
        self._held -= keys
        if not self._alone and not self._several:
            return
        for key in sorted(keys):
            if key in self._held or not (key in self._alone or key in self._several):
                continue
            if (following := self._following(key)) is not None:
                self._leave(following)
                if len(following.keys) > 1:
                    self._lately.note(following.owner)
                self._held |= following.keys
                following.over = True
                self._turns.fire(following.granted)

    def _following(self, key: str) -> _Wait | None:
        """Whose turn it is now that a key is free, if anybody can take it."""
        several = self._first_of_several(key)
        alone = self._alone.get(key)
        if alone is None or (several is not None and key in self._others_turn):
            self._others_turn.discard(key)
            return several
        if key in self._several:
            self._others_turn.add(key)
        return alone[0]

    def _first_of_several(self, key: str) -> _Wait | None:
        """Of those who can have a key and the others they want: its owner, or who had fewest turns lately."""
        free = (wait for wait in self._several.get(key, ()) if self._held.isdisjoint(wait.keys))
        return min(free, key=lambda wait: (wait.owner != key, self._lately.of(wait.owner)), default=None)
