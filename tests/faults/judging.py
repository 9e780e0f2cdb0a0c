"""What a fault did to everybody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from happy.bench.coordinator import Run
from happy.bench.histogram import Histogram
from happy.bench.recorder import Period

MEASURES = ("messages", "posts", "calls")
"""What is timed, from the moment each was due."""

FACTOR, FLOOR = 3.0, 0.05
"""It is as good as before when the p99 is within three times the quiet one, or 50 ms."""


@dataclass(frozen=True)
class Incident:
    """A fault between two moments of the load, in seconds; its effect is looked at up to a third."""

    name: str
    begin: float
    end: float
    until: float
    note: str


@dataclass(frozen=True)
class Effect:
    """What the others noticed: p99 in ms, ``recovered`` in seconds after the end; None if they did not.

    ``served`` counts messages, posts and calls, ``after`` those of them after the fault; ``errors`` counts
    failed requests, lost sockets and vain attempts to connect, ``reasons`` has them by their kinds.
    """

    fault: str
    note: str
    lasted: float
    quiet_p99: float
    worst_p99: float
    recovered: float | None
    errors: int
    served: int
    after: int
    reasons: dict[str, int]


def effects(run: Run, incidents: Iterable[Incident], quiet: tuple[float, float]) -> list[Effect]:
    """The effect of each incident; ``quiet`` are the seconds before the first."""
    usual = _p99([run.seconds[second] for second in _seconds(run, *quiet)])
    return [_effect(run, incident, usual) for incident in incidents]


def _effect(run: Run, incident: Incident, usual: float) -> Effect:
    affected = [run.seconds[second] for second in _seconds(run, incident.begin, incident.until)]
    after = _seconds(run, incident.end, incident.until)
    reasons = Counter[str]()
    for one in affected:
        reasons.update(one.errors)
    return Effect(
        fault=incident.name,
        note=incident.note,
        lasted=round(incident.end - incident.begin, 2),
        quiet_p99=round(usual * 1e3, 1),
        worst_p99=round(max((_p99([one]) for one in affected), default=0.0) * 1e3, 1),
        recovered=_recovered(run, incident.end, after, max(usual * FACTOR, FLOOR)),
        errors=reasons.total(),
        served=_served(affected),
        after=_served([run.seconds[second] for second in after]),
        reasons=dict(reasons.most_common()),
    )


def _served(periods: Iterable[Period]) -> int:
    return sum(one.amounts[name] for one in periods for name in MEASURES)


def _recovered(run: Run, end: float, after: list[int], limit: float) -> float | None:
    """Seconds from the fault's end to the first from which on, all together, it is as good as before."""
    for place, second in enumerate(after):
        rest = [run.seconds[later] for later in after[place:]]
        if _served(rest) and _p99(rest) <= limit:
            return max(0.0, round(second - end, 1))
    return None


def _p99(periods: Iterable[Period]) -> float:
    found = [one.durations[name] for one in periods for name in MEASURES if name in one.durations]
    return Histogram.of(found).quantile(0.99)


def _seconds(run: Run, begin: float, end: float) -> list[int]:
    """The whole seconds of the load that touch the span."""
    return [second for second in sorted(run.seconds) if begin - 1 < second < end]
