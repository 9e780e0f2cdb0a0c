"""Lines of those who wait, one for each owner, which take turns by what their turns cost.

Whoever asks for little should not wait for all who ask for much. So whose turn it is depends on what an owner
has had while others waited: who has had least comes first, and who comes anew is taken for one who has had as
much as that. This is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

W = TypeVar("W")

_FEW: Final = 64


def _anybody(owner: str) -> bool:
    return True


class _Line(deque[W]):
    """What waits of an owner."""

    __slots__ = ("owner",)

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner


class Rotation(Generic[W]):
    """Waiters, those of an owner in the order of coming. ``size`` is how many there are.

    ``most`` is what is remembered of an owner at most: so long others come before it, at the utmost. Nothing
    is remembered of anybody when nobody waits.
    """

    __slots__ = ("_heap", "_lines", "_many", "_most", "_numbers", "_passed", "_served", "size")

    def __init__(self, most: float) -> None:
        self.size = 0
        self._most = most
        self._lines: dict[str, _Line[W]] = {}
        self._heap: list[tuple[float, int, _Line[W]]] = []
        """By what the owner has had, then as they came; with lines besides that are gone."""
        self._numbers = count()
        self._served = 0.0
        """What the owner had whose turn it was last."""
        self._passed: dict[str, float] = {}
        """What owners had who had more."""
        self._many = _FEW

    def __contains__(self, owner: object) -> bool:
        """Whether anything of an owner's waits."""
        return owner in self._lines

    def add(self, owner: str, waiter: W) -> None:
        """Let one wait, at the end of its owner's line."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = _Line(owner)
            self._enter(line, self._had(owner))
        line.append(waiter)
        self.size += 1

    def take(self, may: Callable[[str], bool] = _anybody) -> tuple[str, W] | None:
        """Whose turn it is, and the first of that line; None if nobody waits who ``may`` have a turn."""
        passed_over = []
        found = None
        while self._heap and found is None:
            had, _, line = entry = heappop(self._heap)
            if self._lines.get(line.owner) is not line:
                continue
            if had < self._had(line.owner):
                self._enter(line, self._had(line.owner))
            elif may(line.owner):
                found = line
            else:
                passed_over.append(entry)
        for entry in passed_over:
            heappush(self._heap, entry)
        return None if found is None else (found.owner, self._first(found))

    def charge(self, owner: str, cost: float) -> None:
        """What was taken of an owner has cost so much."""
        if not self.size:
            self._heap.clear()
            self._passed.clear()
            self._served = 0.0
            return
        self._passed[owner] = min(self._had(owner) + cost, self._served + self._most)
        if len(self._passed) > self._many:
            self._passed = {name: had for name, had in self._passed.items() if had > self._served}
            self._many = 2 * len(self._passed) + _FEW

    def remove(self, owner: str, waiter: W) -> bool:
        """Let one wait no longer; whether it did."""
        line = self._lines.get(owner)
        if line is None or waiter not in line:
            return False
        line.remove(waiter)
        self.size -= 1
        if not line:
            del self._lines[owner]
        return True

    def _had(self, owner: str) -> float:
        return max(self._served, self._passed.get(owner, 0.0))

    def _enter(self, line: _Line[W], had: float) -> None:
        heappush(self._heap, (had, next(self._numbers), line))

    def _first(self, line: _Line[W]) -> W:
        """Take one of the line whose turn it is."""
        self._served = had = self._had(line.owner)
        waiter = line.popleft()
        self.size -= 1
        if line:
            self._enter(line, had)
        else:
            del self._lines[line.owner]
        return waiter
