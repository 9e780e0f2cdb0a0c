"""What is remembered for many owners, within bounds that no owner can fill for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _nothing(key: object, value: object) -> None:
    """Nobody needs to know."""


class OwnedCache(Generic[K, V]):
    """At most ``size`` values, of which one owner has at most ``share``. Every operation takes the same time.

    An owner that has its share loses its oldest value for a new one. When everything is taken, an owner that
    has most loses its oldest. ``lost`` is told of what went so; it must not change the cache.
    """

    def __init__(self, size: int, share: int, lost: Callable[[K, V], None] = _nothing) -> None:
        self._size = size
        self._share = share
        self._lost = lost
        self._values: dict[K, tuple[str, V]] = {}
        self._of: dict[str, dict[K, None]] = {}
        self._with: dict[int, dict[str, None]] = {}
        """The owners that have so many values."""
        self._most = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, if it is there."""
        found = self._values.get(key)
        return None if found is None else found[1]

    def items(self) -> Iterator[tuple[K, V]]:
        """Everything, the oldest first."""
        return ((key, value) for key, (_, value) in self._values.items())

    def of(self, owner: str) -> Iterator[tuple[K, V]]:
        """Everything of an owner, the oldest first."""
        return ((key, self._values[key][1]) for key in self._of.get(owner, ()))

    def put(self, owner: str, key: K, value: V) -> None:
        """Remember a value as the owner's newest, in the place of one with that key."""
        self.pop(key)
        if self._count(owner) >= self._share:
            self._lose(owner)
        elif len(self._values) >= self._size:
            self._lose(next(iter(self._with[self._most])))
        self._values[key] = (owner, value)
        self._rank(owner, 1)
        self._of.setdefault(owner, {})[key] = None

    def pop(self, key: K) -> V | None:
        """Forget a value, if it is there, and return it."""
        found = self._values.pop(key, None)
        if found is None:
            return None
        owner, value = found
        self._rank(owner, -1)
        del self._of[owner][key]
        if not self._of[owner]:
            del self._of[owner]
        return value

    def _count(self, owner: str) -> int:
        return len(self._of.get(owner, ()))

    def _lose(self, owner: str) -> None:
        key = next(iter(self._of[owner]))
        value = self.pop(key)
        assert value is not None
        self._lost(key, value)

    def _rank(self, owner: str, change: int) -> None:
        """Note that an owner is about to have one value more, or less."""
        before = self._count(owner)
        after = before + change
        if before:
            del self._with[before][owner]
            if not self._with[before]:
                del self._with[before]
        if after:
            self._with.setdefault(after, {})[owner] = None
        if after > self._most or (before == self._most and before not in self._with):
            self._most = after
