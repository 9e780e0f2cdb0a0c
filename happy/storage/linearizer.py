"""Queues by key: what must happen in order to one account happens one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred

Release = Callable[[], None]


class Linearizer:
    """Exclusive holds on sets of keys, first come first served for each key.

    Keys are always taken in sorted order, so holders of several cannot block each other for ever.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Deferred[None]]] = {}

    async def acquire(self, keys: Iterable[str]) -> Release:
        """Wait for every key; answers the function that gives all of them back.

        Cancelling the wait gives back what was already taken.
        """
        taken: list[str] = []
        try:
            for key in sorted(set(keys)):
                if (turn := self._enqueue(key)) is not None:
                    await turn
                taken.append(key)
        except BaseException:
            self._give_back(taken)
            raise
        return self._release_once(taken)

    def try_acquire(self, keys: Iterable[str]) -> Release | None:
        """Every key at once, or None when one of them is held."""
        wanted = sorted(set(keys))
        if any(key in self._queues for key in wanted):
            return None
        for key in wanted:
            self._queues[key] = deque()
        return self._release_once(wanted)

    def held(self, key: str) -> bool:
        """Whether someone holds the key."""
        return key in self._queues

    def _enqueue(self, key: str) -> Deferred[None] | None:
        """Take a free key, answering None, or queue for it."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            return None
        turn: Deferred[None] = Deferred(queue.remove)
        queue.append(turn)
        return turn

    def _release_once(self, taken: list[str]) -> Release:
        def release() -> None:
            keys, taken[:] = list(taken), []
            self._give_back(keys)

        return release

    def _give_back(self, keys: list[str]) -> None:
        for key in keys:
            if queue := self._queues[key]:
                queue.popleft().callback(None)
            else:
                del self._queues[key]
