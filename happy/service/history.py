"""What the last hour was like: a few numbers every few seconds, as many as an hour has, and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from happy.base.rounds import Rounds
from happy.service.allocator import resident
from happy.service.status import sockets

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.base.clocks import Now
    from happy.metrics import Metrics
    from happy.service.status import Status

SECONDS: Final = 15.0
SAMPLES: Final = 240
"""An hour."""

COUNTED_EVERY: Final = 4
"""Samples of a minute, for which the size of the database is good."""

SLOW: Final = 0.99
"""The share of the quicker ones: what is slower than that is told as slow."""


class History:
    """Samples in the order of their times; a rate is over the time since the sample before.

    Columns: ``at`` in epoch ms; ``user``, ``session``, ``machine`` sockets; ``messages`` and ``heartbeats`` a
    minute; ``commits`` and ``calls`` a minute, with their means, ``commitMs`` and ``callMs``, and what few
    exceed, ``commitSlowMs`` and ``callSlowMs``; ``memoryBytes`` and ``databaseBytes``. None is what is not
    known, or did not happen.
    """

    def __init__(self, metrics: Metrics, clock: IReactorTime, now: Now, status: Status) -> None:
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._status = status
        self._samples: deque[dict[str, float | None]] = deque(maxlen=SAMPLES)
        self._taken = 0
        self._before: _Counts | None = None
        self._minute = deque([(clock.seconds(), _stored(metrics))], maxlen=COUNTED_EVERY + 1)
        self._sampling = Rounds(
            "sampling for the status page", self._sample, clock, seconds=SECONDS, patience=60.0
        )

    def start(self, *, at_once: bool = True) -> None:
        """Take samples from now on, the first one now or after the usual time."""
        self._sampling.start(at_once=at_once)

    def stop(self) -> None:
        """Take no more."""
        self._sampling.stop()

    def columns(self) -> dict[str, list[float | None]]:
        """The samples by column, the oldest first."""
        return {name: [sample[name] for sample in self._samples] for name in COLUMNS}

    def messages(self) -> float:
        """How many messages were stored a minute, in the last one or since the start."""
        moment, stored = self._minute[0]
        seconds = max(self._clock.seconds() - moment, 1.0)
        return (_stored(self._metrics) - stored) / seconds * 60

    async def _sample(self) -> None:
        if self._taken % COUNTED_EVERY == 0:
            await self._status.count(1.0)
        self._taken += 1
        counts, before = _counted(self._metrics, self._clock.seconds()), self._before
        self._before = counts
        self._minute.append((counts.moment, counts.messages))
        connected = sockets(self._metrics)
        sample: dict[str, float | None] = dict.fromkeys(COLUMNS)
        sample |= {
            "at": round(self._now() * 1000),
            "user": connected.user,
            "session": connected.session,
            "machine": connected.machine,
            "memoryBytes": resident(),
            "databaseBytes": self._status.database_bytes,
        }
        if before is not None:
            sample |= counts.since(before)
        self._samples.append(sample)


COLUMNS: Final = (
    *("at", "user", "session", "machine", "messages", "heartbeats"),
    *("commits", "commitMs", "commitSlowMs", "calls", "callMs", "callSlowMs"),
    *("memoryBytes", "databaseBytes"),
)


@dataclass(frozen=True, slots=True)
class _Timed:
    """How many of something there were, how long they took together, and how many took at most so long."""

    number: float = 0.0
    seconds: float = 0.0
    within: Mapping[float, float] = field(default_factory=dict)

    def since(self, before: _Timed) -> tuple[float | None, float | None]:
        """The mean, and what the quicker ones took at most, in ms; None if there were none."""
        number = self.number - before.number
        if number <= 0:
            return None, None
        mean = (self.seconds - before.seconds) / number * 1000
        bounds = sorted(self.within)
        reached = [bound for bound in bounds if self._within(bound, before) >= SLOW * number]
        # Beyond the last bound nothing is known but the mean.
        slow = reached[0] * 1000 if reached and reached[0] != float("inf") else bounds[-2] * 1000
        return mean, max(slow, mean)

    def _within(self, bound: float, before: _Timed) -> float:
        return self.within[bound] - before.within.get(bound, 0.0)


@dataclass(frozen=True, slots=True)
class _Counts:
    """What has been counted until a moment."""

    moment: float
    messages: float
    heartbeats: float
    commits: _Timed
    calls: _Timed

    def since(self, before: _Counts) -> dict[str, float | None]:
        """What happened since then, in the columns' terms."""
        minutes = max(self.moment - before.moment, 0.001) / 60
        commit, commit_slow = self.commits.since(before.commits)
        call, call_slow = self.calls.since(before.calls)
        return {
            "messages": (self.messages - before.messages) / minutes,
            "heartbeats": (self.heartbeats - before.heartbeats) / minutes,
            "commits": (self.commits.number - before.commits.number) / minutes,
            "commitMs": commit,
            "commitSlowMs": commit_slow,
            "calls": (self.calls.number - before.calls.number) / minutes,
            "callMs": call,
            "callSlowMs": call_slow,
        }


def _counted(metrics: Metrics, moment: float) -> _Counts:
    alive = (metrics.session_alive_events_total, metrics.machine_alive_events_total)
    return _Counts(
        moment,
        messages=_stored(metrics),
        heartbeats=sum(sample.value for sample in _samples(alive) if sample.name.endswith("_total")),
        commits=_timed([metrics.happy_commit_seconds]),
        calls=_timed([metrics.rpc_call_duration_seconds]),
    )


def _stored(metrics: Metrics) -> float:
    """How many messages have been stored."""
    return _timed([metrics.happy_commit_rows]).seconds


def _timed(histograms: Iterable[Any]) -> _Timed:
    number = seconds = 0.0
    within: dict[float, float] = {}
    for sample in _samples(histograms):
        if sample.name.endswith("_count"):
            number += sample.value
        elif sample.name.endswith("_sum"):
            seconds += sample.value
        elif sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"])
            within[bound] = within.get(bound, 0.0) + sample.value
    return _Timed(number, seconds, within)


def _samples(metrics: Iterable[Any]) -> Iterable[Any]:
    return (sample for metric in metrics for family in metric.collect() for sample in family.samples)
