"""What workers tell of themselves, as that of one server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from happy.service.control import Impracticable
from happy.service.history import COLUMNS, SAMPLES, SECONDS

Sample = Mapping[str, float | None]
"""The values of the columns of :class:`happy.service.history.History` at a time."""

_STEP: Final = round(SECONDS * 1000)
_LATE: Final = 2 * _STEP
"""Milliseconds for which a worker's sample holds: they do not take them at the same moments."""

_WEIGHTS: Final = {"commitMs": "commits", "callMs": "calls"}
"""Means, each with the column that tells how many of something it is the mean of."""

_GREATEST: Final = frozenset({"commitSlowMs", "callSlowMs", "databaseBytes"})
"""What is not added up: the slowest tells for all, and they have one database."""


def merged(reports: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """The reports of workers (:class:`happy.service.status.StatusReport`), by their names, as one.

    Sockets are those of all, ``nodes`` has a line for each, and one for each node elsewhere. None is the
    report of one that does not answer; the server is ready when all are. Raises Impracticable if none
    answers.
    """
    answered = {name: report for name, report in reports.items() if report is not None}
    if not answered:
        raise Impracticable("no worker answers")
    first = next(iter(answered.values()))
    silent = [f"{name} does not answer" for name in reports if name not in answered]
    reasons = dict.fromkeys(reason for report in answered.values() for reason in report["reasons"])
    nodes = [{"name": name, **_line(report)} for name, report in reports.items()] + _elsewhere(answered)
    return {
        **first,
        "ready": not silent and all(report["ready"] for report in answered.values()),
        "reasons": [*reasons, *silent],
        "sockets": {
            scope: sum(report["sockets"][scope] for report in answered.values()) for scope in first["sockets"]
        },
        "messagesPerMinute": _total([report["messagesPerMinute"] for report in answered.values()]),
        "nodes": nodes,
    }


def _line(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is told of one worker."""
    if report is None:
        return {"state": "silent", "sockets": None}
    state = "ready" if report["ready"] else "not ready"
    here: Mapping[str, Any] = next((line for line in report["nodes"] if line["state"] == "here"), {})
    same = {name: here[name] for name in ("version", "secret") if name in here}
    return {"state": state, "sockets": sum(report["sockets"].values()), **same}


def _elsewhere(reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The nodes of the service that are none of these workers."""
    lines = [line for report in reports.values() for line in report["nodes"]]
    here = {line["name"] for line in lines if line["state"] == "here"}
    return list({line["name"]: line for line in lines if line["name"] not in here}.values())


class Histories:
    """The last hour of each worker, also of the time before it was replaced."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}

    def learn(self, worker: str, columns: Mapping[str, Sequence[float | None]]) -> None:
        """Keep what is new in a worker's columns (:meth:`happy.service.history.History.columns`)."""
        known = self._samples.setdefault(worker, deque(maxlen=SAMPLES))
        latest = _at(known[-1]) if known else float("-inf")
        for values in zip(*(columns[name] for name in COLUMNS), strict=True):
            sample = dict(zip(COLUMNS, values, strict=True))
            if _at(sample) > latest:
                known.append(sample)

    def columns(self) -> dict[str, list[float | None]]:
        """The columns of all workers together, at times that are as far apart as those of one."""
        times = [_at(sample) for samples in self._samples.values() for sample in samples]
        if not times:
            return {name: [] for name in COLUMNS}
        last = max(times)
        steps = min(int(last - min(times)) // _STEP, SAMPLES - 1)
        moments = [last - _STEP * step for step in range(steps, -1, -1)]
        holding = [_held(samples, moments) for samples in self._samples.values()]
        rows = [_together(at, row) for at, *row in zip(moments, *holding, strict=True)]
        return {name: [row[name] for row in rows] for name in COLUMNS}


def _at(sample: Sample) -> float:
    at = sample["at"]
    assert at is not None
    return at


def _held(samples: Iterable[Sample], moments: Sequence[float]) -> list[Sample | None]:
    """The sample of one worker that holds at each of the moments, if there is one."""
    left, latest, held = deque(samples), None, list[Sample | None]()
    for moment in moments:
        while left and _at(left[0]) <= moment:
            latest = left.popleft()
        held.append(latest if latest is not None and moment - _at(latest) < _LATE else None)
    return held


def _together(at: float, row: Iterable[Sample | None]) -> dict[str, float | None]:
    found = [sample for sample in row if sample is not None]
    whole = {name: _merge(name)([sample[name] for sample in found]) for name in COLUMNS}
    for name, number in _WEIGHTS.items():
        whole[name] = _mean([(sample[name], sample[number]) for sample in found])
    return {**whole, "at": at}


def _merge(name: str) -> Callable[[Sequence[float | None]], float | None]:
    return _greatest if name in _GREATEST else _total


def _total(numbers: Sequence[float | None]) -> float | None:
    """The sum of those that are known."""
    known = [one for one in numbers if one is not None]
    return sum(known) if known else None


def _greatest(numbers: Sequence[float | None]) -> float | None:
    return max((one for one in numbers if one is not None), default=None)


def _mean(weighted: Iterable[tuple[float | None, float | None]]) -> float | None:
    """The mean of means, each with how many it is of."""
    known = [(mean, number) for mean, number in weighted if mean is not None and number]
    return (
        sum(mean * number for mean, number in known) / sum(number for _, number in known) if known else None
    )
