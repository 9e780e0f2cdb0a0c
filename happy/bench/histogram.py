"""Latencies in buckets: small to send between processes, exact to add up, within 1 % of the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

_PER_DOUBLING = 64
_UNIT = 1e-6
"""Seconds in the first bucket; everything faster counts as this."""


class Histogram:
    """Counts of durations. ``largest`` is exact; the buckets are 1.1 % wide."""

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        number = int(math.log2(seconds / _UNIT) * _PER_DOUBLING) if seconds > _UNIT else 0
        self._buckets[number] = self._buckets.get(number, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.largest:
            self.largest = seconds

    def merge(self, other: Histogram) -> None:
        """Add what another one counted."""
        for number, many in other._buckets.items():
            self._buckets[number] = self._buckets.get(number, 0) + many
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def quantile(self, part: float) -> float:
        """The duration in seconds that ``part`` (0 to 1) of all stay within; 0 without any."""
        rank = max(1, math.ceil(part * self.count))
        for number in sorted(self._buckets):
            rank -= self._buckets[number]
            if rank <= 0:
                return min(self.largest, _UNIT * math.pow(2.0, (number + 1) / _PER_DOUBLING))
        return 0.0

    @property
    def mean(self) -> float:
        """The average in seconds; 0 without any."""
        return self.total / self.count if self.count else 0.0

    def dump(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "buckets": {str(number): many for number, many in self._buckets.items()},
            "total": self.total,
            "largest": self.largest,
        }

    @classmethod
    def load(cls, dumped: Mapping[str, object]) -> Histogram:
        """What :meth:`dump` made."""
        histogram = cls()
        buckets = dumped["buckets"]
        assert isinstance(buckets, Mapping)
        histogram._buckets = {int(number): int(many) for number, many in buckets.items()}
        histogram.count = sum(histogram._buckets.values())
        histogram.total = float(str(dumped["total"]))
        histogram.largest = float(str(dumped["largest"]))
        return histogram

    @classmethod
    def of(cls, several: Iterable[Histogram]) -> Histogram:
        """All of them together."""
        whole = cls()
        for one in several:
            whole.merge(one)
        return whole
