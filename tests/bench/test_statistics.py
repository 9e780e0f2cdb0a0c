"""Histograms, checks and recorders."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from happy.bench.checks import Ledger, Rising, Verdict, judge_history
from happy.bench.histogram import Histogram
from happy.bench.recorder import Period, Recorder

DURATIONS = st.lists(st.floats(1e-6, 100), min_size=1, max_size=60)
NUMBERS = st.lists(st.integers(1, 12), max_size=20)


def histogram_of(durations: list[float]) -> Histogram:
    """All of them counted."""
    histogram = Histogram()
    for one in durations:
        histogram.add(one)
    return histogram


@given(DURATIONS, st.floats(0.01, 1))
def test_quantiles(durations: list[float], part: float) -> None:
    """A quantile is within a bucket of the exact one, and never beyond the largest."""
    exact = sorted(durations)[max(1, math.ceil(part * len(durations))) - 1]
    found = histogram_of(durations).quantile(part)
    assert exact * 0.989 <= found <= min(exact * 1.012, max(durations))


@given(DURATIONS, DURATIONS)
def test_merging(first: list[float], second: list[float]) -> None:
    """Histograms that were sent and added up are the histogram of everything."""
    sent = [Histogram.load(histogram_of(one).dump()) for one in (first, second)]
    merged, whole = Histogram.of(sent), histogram_of(first + second)
    assert (merged.count, merged.largest) == (whole.count, whole.largest)
    assert merged.quantile(0.5) == whole.quantile(0.5)
    assert math.isclose(merged.mean, whole.mean)


def test_nothing_counted() -> None:
    """Without durations there is nothing to tell."""
    assert (Histogram().quantile(0.99), Histogram().mean) == (0, 0)


@given(st.integers(0, 20))
def test_ledger_in_order(count: int) -> None:
    """What comes back once and in order leaves no complaint."""
    ledger = Ledger()
    ledger.sent = count
    for number in range(1, count + 1):
        ledger.heard(number)
    assert ledger.verdict().clean


@given(NUMBERS)
def test_ledger_in_any_order(numbers: list[int]) -> None:
    """Whatever comes back: what did not is lost, what came again is a duplicate, the rest is late or fine."""
    ledger = Ledger()
    ledger.sent = 12
    highest, late = 0, 0
    for place, number in enumerate(numbers):
        late += number < highest and number not in numbers[:place]
        highest = max(highest, number)
        ledger.heard(number)
    verdict = ledger.verdict()
    assert verdict.lost == 12 - len(set(numbers))
    assert verdict.duplicated == len(numbers) - len(set(numbers))
    assert verdict.reordered == late


def test_ledger_excuses() -> None:
    """What was on its way when a connection ended may come later or never; what follows must come."""
    ledger = Ledger()
    ledger.sent = 3
    ledger.heard(1)
    ledger.excuse()
    assert not ledger.outstanding
    ledger.sent = 5
    ledger.heard(2)
    ledger.heard(4)
    assert ledger.verdict() == Verdict(lost=1)


def test_rising() -> None:
    """Numbers that stand still or fall are out of order."""
    rising = Rising()
    for number in (1, 5, 5, 3, 4):
        rising.see(number)
    assert (rising.take(), rising.take()) == (2, 0)


@given(st.permutations(range(1, 7)))
def test_history(stored: list[int]) -> None:
    """A session that holds all has them in order, or says how many are behind a later one."""
    behind = sum(any(before > number for before in stored[:place]) for place, number in enumerate(stored))
    assert judge_history(stored, range(1, 7)) == Verdict(reordered=behind)


def test_history_misses() -> None:
    """A confirmed message that is not stored is found, and so is one that is stored twice."""
    assert judge_history([1, 2, 2, 5], [1, 2, 3, 4]) == Verdict(duplicated=1, unstored=2)


def test_recorder() -> None:
    """What several workers flushed adds up, and is flushed once."""
    recorder, period = Recorder(), Period()
    recorder.note("posts", 0.5, 100)
    recorder.count("beats", 3)
    recorder.error("refused")
    period.load(recorder.flush())
    recorder.note("posts", 1.5, 100)
    period.load(recorder.flush())
    period.load(recorder.flush())
    assert period.amounts == {"posts": 200, "beats": 3}
    assert (period.durations["posts"].count, period.durations["posts"].largest) == (2, 1.5)
    assert period.errors == {"refused": 1}
