"""Takes a run through its phases and adds up what the workers and the observer saw."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from happy.bench.checks import Verdict
from happy.bench.fleet import Fleet
from happy.bench.histogram import Histogram
from happy.bench.load import Job, Load
from happy.bench.observe import Observer, Sample
from happy.bench.recorder import Period

_HEAD_START = 0.1
"""Seconds between the word to go and the beginning, so that all workers begin together."""

Show = Callable[[str], None]


@dataclass
class Run:
    """Everything known about a run. ``seconds`` maps a second since the beginning to what happened in it."""

    load: Load
    workers: int
    warmup: float
    elapsed: float = 0.0
    tool_cpu: float = 0.0
    seconds: dict[int, Period] = field(default_factory=dict)
    late: Period = field(default_factory=Period)
    verdict: Verdict = field(default_factory=Verdict)
    figures: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def measured(self) -> Period:
        """What happened after the warm-up."""
        whole = Period()
        for second, period in self.seconds.items():
            if second >= self.warmup:
                whole.add(period)
        return whole


def perform(
    url: str,
    load: Load,
    workers: int,
    addresses: int,
    warmup: float,
    observer: Observer,
    show: Show,
    enough: Callable[[], bool] = lambda: False,
) -> Run:
    """Do a whole run. ``show`` gets a line of progress now and then. Raises WorkerFailed.

    ``enough`` is asked every second whether the run is to end before its time, as far as its scenario can.
    """
    name = secrets.token_hex(4)
    jobs = [
        Job(url=url, run=name, load=load, index=index, workers=workers, addresses=addresses)
        for index in range(workers)
    ]
    run = Run(load, workers, warmup)
    with Fleet(jobs) as fleet:
        _prepare(fleet, show)
        _measure(fleet, run, observer, show, enough)
        _verify(fleet, run, show)
    return run


def _prepare(fleet: Fleet, show: Show) -> None:
    begun = perf_counter()
    progress = ""
    for fact in fleet.facts("ready"):
        if "progress" in fact:
            progress = f", {fact['progress']} {fact['done']:,} of {fact['of']:,}"
        show(f"preparing, {perf_counter() - begun:.0f} s{progress}")


def _measure(fleet: Fleet, run: Run, observer: Observer, show: Show, enough: Callable[[], bool]) -> None:
    ending = False
    run.samples.append(observer.sample())
    begin = perf_counter() + _HEAD_START
    fleet.tell({"go": begin})
    for fact in fleet.facts("finished"):
        if "second" in fact:
            run.seconds.setdefault(fact["second"], Period()).load(fact)
        elif "finished" in fact:
            run.elapsed = max(run.elapsed, fact["finished"])
            run.tool_cpu += fact["cpu"]
        elif not fact:
            run.samples.append(observer.sample())
            show(_progress(run, perf_counter() - begin))
            if not ending and enough():
                ending = True
                fleet.tell({"enough": True})
    run.samples.append(observer.sample())


def _progress(run: Run, elapsed: float) -> str:
    """One line about the last whole second."""
    if not run.seconds:
        return f"running, {elapsed:.0f} s"
    period = run.seconds[max(run.seconds)]
    parts = [
        f"{name} {period.amounts[name]:,}/s p50 {_ms(one, 0.5)} p99 {_ms(one, 0.99)} ms"
        for name, one in period.durations.items()
    ]
    errors = sum(one.errors.total() for one in run.seconds.values())
    return f"running, {elapsed:.0f} s, {', '.join(parts)}, {errors:,} errors"


def _ms(histogram: Histogram, part: float) -> str:
    return f"{histogram.quantile(part) * 1e3:.1f}"


def _verify(fleet: Fleet, run: Run, show: Show) -> None:
    begun = perf_counter()
    fleet.tell({"verify": True})
    for fact in fleet.facts("result"):
        if "result" in fact:
            run.verdict.add(Verdict(**fact["result"]))
            run.late.load(fact["late"])
            _add_figures(run.figures, fact["figures"])
        show(f"verifying, {perf_counter() - begun:.0f} s")


def _add_figures(whole: dict[str, float], part: dict[str, Any]) -> None:
    """Seconds run side by side; everything else adds up."""
    for name, value in part.items():
        beside = name.endswith("_seconds")
        whole[name] = max(whole.get(name, 0), value) if beside else whole.get(name, 0) + value
