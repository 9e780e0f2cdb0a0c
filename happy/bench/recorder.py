"""What a worker measures, second by second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from happy.bench.histogram import Histogram


class Recorder:
    """Durations, amounts and errors since the last :meth:`flush`."""

    def __init__(self) -> None:
        self._durations: dict[str, Histogram] = {}
        self._amounts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def note(self, name: str, seconds: float, amount: int = 1) -> None:
        """One operation took so long and did so much."""
        histogram = self._durations.get(name)
        if histogram is None:
            histogram = self._durations[name] = Histogram()
        histogram.add(seconds)
        self._amounts[name] += amount

    def count(self, name: str, amount: int = 1) -> None:
        """Something happened that takes no time."""
        self._amounts[name] += amount

    def error(self, reason: str) -> None:
        """Something went wrong."""
        self._errors[reason] += 1

    def flush(self) -> dict[str, Any]:
        """Everything as JSON values, and start anew."""
        dumped = {
            "durations": {name: histogram.dump() for name, histogram in self._durations.items()},
            "amounts": dict(self._amounts),
            "errors": dict(self._errors),
        }
        self._durations, self._amounts, self._errors = {}, Counter(), Counter()
        return dumped


class Period:
    """What all workers measured in some time."""

    def __init__(self) -> None:
        self.durations: dict[str, Histogram] = {}
        self.amounts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def load(self, flushed: Mapping[str, Any]) -> None:
        """Add what a worker flushed."""
        for name, dumped in flushed["durations"].items():
            self.durations.setdefault(name, Histogram()).merge(Histogram.load(dumped))
        self.amounts.update(flushed["amounts"])
        self.errors.update(flushed["errors"])

    def add(self, other: Period) -> None:
        """Add another period."""
        for name, histogram in other.durations.items():
            self.durations.setdefault(name, Histogram()).merge(histogram)
        self.amounts.update(other.amounts)
        self.errors.update(other.errors)
