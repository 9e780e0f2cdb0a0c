"""What can be seen of a server while it is under load, and whether it drifts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from happy.bench import proc
from tests.hostile.watching import MIB, counted, page, stalls
from tests.operated import Operated

MOST_DRIFT = 0.05
"""Of the memory after the beginning."""


@dataclass(frozen=True)
class Sample:
    """One look, ``second`` after the load began. Memory is in MiB; ``budget`` is what clients make it keep.

    ``stalls`` counts turns of its loop of more than 50 ms since the start, None for a server that does not
    tell.
    """

    second: float
    memory: float
    postgres: float
    budget: float
    sockets: float
    files: int
    log_kib: float
    stalls: float | None


def look(server: Operated, metrics: int, second: float) -> Sample:
    """Look at everything."""
    text = page(metrics)
    late = stalls(text)
    postmaster = server.postgres
    backends = [postmaster, *proc.children(postmaster, proc.parents())]
    return Sample(
        second=round(second, 1),
        memory=round(proc.resident_bytes(server.pid) / MIB, 1),
        postgres=round(sum(map(proc.proportional_bytes, backends)) / MIB, 1),
        budget=round(counted(text, "happy_memory_bytes") / MIB, 1),
        sockets=counted(text, "happy_sockets"),
        files=proc.open_files(server.pid),
        log_kib=round(server.log_size / 1024, 1),
        stalls=late.long if late.known else None,
    )


@dataclass(frozen=True)
class Drift:
    """How much more memory there is at the end than after the beginning; both in MiB, medians of some
    minutes.
    """

    early: float
    late: float

    @property
    def part(self) -> float:
        """The growth, as a part of what there was."""
        return self.late / self.early - 1 if self.early else 0.0

    @property
    def small(self) -> bool:
        """Whether it is within the bound."""
        return self.part < MOST_DRIFT


def drift(samples: Sequence[Sample], settled: float, span: float) -> Drift:
    """Compare the ``span`` seconds after ``settled`` with the last ones."""
    end = samples[-1].second
    early = _memory(one for one in samples if settled <= one.second < settled + span)
    late = _memory(one for one in samples if one.second > end - span)
    return Drift(early, late)


def _memory(samples: Iterable[Sample]) -> float:
    return median([one.memory for one in samples] or [0.0])
