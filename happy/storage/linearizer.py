"""Queues by key: what must happen in order to one account happens one after another.

The database orders commits; that they are heard of in the same order is up to this process. So a writer holds
its accounts from before it begins until its own updates are delivered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from twisted.internet.defer import Deferred

from happy.base.errors import Overloaded
from happy.base.waiting import OneByOne

Release = Callable[[], None]

MOST_WAITING: Final = 100
"""Of those who want several keys, how many may wait for one of them."""


class _Wait:
    """Somebody who waits for keys, all of which are his when it is ``over``, before ``granted`` fires."""

    __slots__ = ("granted", "keys", "over")

    def __init__(self, keys: frozenset[str], gone: Callable[[_Wait], None]) -> None:
        self.keys = keys
        self.over = False
        self.granted: Deferred[None] = Deferred(lambda _: gone(self))


class Linearizer:
    """Exclusive holds on sets of keys.

    Who wants one key gets it in the order of asking. Who wants several gets all of them at the same moment,
    and holds none while it waits for the others: so nobody blocks each other for ever, and nobody's key waits
    for somebody else's. Of those who wait for a key, the first who wants it alone and the first who wants
    more take turns: whoever acts on other accounts delays one thing of theirs at a time, however often it
    asks.
    """

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._alone: dict[str, deque[_Wait]] = {}
        self._several: dict[str, dict[_Wait, None]] = {}
        self._others_turn: set[str] = set()
        self._turns = OneByOne()

    async def acquire(self, keys: Iterable[str]) -> Release:
        """Wait for every key; answers the function that gives all of them back.

        Raises Overloaded when too many wait for several keys of which this is one. A wait may be cancelled.
        """
        wanted = frozenset(keys)
        release = self.try_acquire(wanted)
        if release is None:
            wait = self._enqueue(wanted)
            await wait.granted
            release = self._release_once(wanted)
        return release

    def try_acquire(self, keys: Iterable[str]) -> Release | None:
        """Every key at once, or None when one of them is held."""
        wanted = frozenset(keys)
        if not self._held.isdisjoint(wanted):
            return None
        self._held |= wanted
        return self._release_once(wanted)

    def held(self, key: str) -> bool:
        """Whether someone holds the key."""
        return key in self._held

    @property
    def waiting(self) -> int:
        """How many wait for a key that they want alone."""
        return sum(map(len, self._alone.values()))

    def _enqueue(self, keys: frozenset[str]) -> _Wait:
        wait = _Wait(keys, self._cancelled)
        if len(keys) == 1:
            (key,) = keys
            self._alone.setdefault(key, deque()).append(wait)
            return wait
        if any(len(self._several.get(key, ())) >= MOST_WAITING for key in keys):
            raise Overloaded("too many wait for the same account")
        for key in keys:
            self._several.setdefault(key, {})[wait] = None
        return wait

    def _cancelled(self, wait: _Wait) -> None:
        if wait.over:
            self._give_back(wait.keys)
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

    def _release_once(self, keys: frozenset[str]) -> Release:
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._give_back(keys)

        return release

    def _give_back(self, keys: frozenset[str]) -> None:
        self._held -= keys
        for key in sorted(keys):
            following = None if key in self._held else self._following(key)
            if following is not None:
                self._leave(following)
                self._held |= following.keys
                following.over = True
                self._turns.fire(following.granted)

    def _following(self, key: str) -> _Wait | None:
        """Whose turn it is now that a key is free, if anybody can take it."""
        several = next(
            (wait for wait in self._several.get(key, ()) if self._held.isdisjoint(wait.keys)), None
        )
        alone = self._alone.get(key)
        if alone is None or (several is not None and key in self._others_turn):
            self._others_turn.discard(key)
            return several
        if key in self._several:
            self._others_turn.add(key)
        return alone[0]
