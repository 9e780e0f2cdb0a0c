"""Whether what was sent arrived: once, and in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Verdict:
    """Numbers of things that must not happen.

    ``lost`` did not reach a listener; ``unstored`` was confirmed by the server, but it does not have it.
    """

    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unstored: int = 0

    def add(self, other: Verdict) -> None:
        """Count another's as well."""
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.reordered += other.reordered
        self.unstored += other.unstored

    @property
    def clean(self) -> bool:
        """Whether nothing of the kind happened."""
        return not (self.lost or self.duplicated or self.reordered or self.unstored)

    def dump(self) -> dict[str, int]:
        """As JSON values."""
        return asdict(self)


class Ledger:
    """What one sender numbered 1, 2, 3..., and what came back of it."""

    __slots__ = ("_excused", "_missing", "_next", "duplicated", "reordered", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.duplicated = 0
        self.reordered = 0
        self._next = 1
        self._missing: set[int] = set()
        self._excused: set[int] = set()

    def heard(self, number: int) -> None:
        """One came back."""
        if number == self._next:
            self._next += 1
        elif number > self._next:
            self._missing.update(range(self._next, number))
            self._next = number + 1
        elif number in self._missing:
            self._missing.discard(number)
            self.reordered += 1
        elif number in self._excused:
            self._excused.discard(number)
        else:
            self.duplicated += 1

    def excuse(self) -> None:
        """A connection was lost: what has not come back may come, or not."""
        self._excused |= self._missing
        self._excused.update(range(self._next, self.sent + 1))
        self._missing = set()
        self._next = self.sent + 1

    @property
    def outstanding(self) -> int:
        """How many have not come back."""
        return len(self._missing) + self.sent + 1 - self._next

    def verdict(self) -> Verdict:
        """What it comes to, now that nothing more is expected."""
        return Verdict(lost=self.outstanding, duplicated=self.duplicated, reordered=self.reordered)


class Rising:
    """Numbers that must strictly increase on one connection."""

    __slots__ = ("_last", "reordered")

    def __init__(self) -> None:
        self._last = -1
        self.reordered = 0

    def see(self, number: int) -> None:
        """Look at the next one."""
        if number <= self._last:
            self.reordered += 1
        self._last = number

    def take(self) -> int:
        """How many were out of order since the last time this was asked."""
        found, self.reordered = self.reordered, 0
        return found


def judge_history(numbers: Iterable[int], confirmed: Iterable[int]) -> Verdict:
    """Compare what the server stored, in its order, with what it had confirmed.

    ``numbers`` are one sender's, in the order of the stored session. What was sent without a confirmation
    may or may not be there.
    """
    verdict, seen, highest = Verdict(), set(), 0
    for number in numbers:
        if number in seen:
            verdict.duplicated += 1
        elif number < highest:
            verdict.reordered += 1
        seen.add(number)
        highest = max(highest, number)
    verdict.unstored = sum(number not in seen for number in confirmed)
    return verdict
