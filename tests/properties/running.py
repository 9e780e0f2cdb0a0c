"""A run: a server, an innocent client, processes that send batches, and what is found."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.hostile.running import SOURCE, Arena
from tests.hostile.watching import MIB, Gauge, Seen, Stalls, page, stalls
from tests.operated import ROOT
from tests.properties.part import SIZE, Finding, Orders, Report

_SETTLING = 0.3
_STEP = 0.25


@dataclass(frozen=True)
class Plan:
    """Batches ``first`` and on of a seed, in so many processes. Memory is given ``patience`` seconds."""

    seed: int
    batches: int
    first: int = 0
    parts: int = 4
    patience: float = 60.0


@dataclass
class Outcome:
    """What came of it; memory in MiB above the start."""

    seen: Seen
    inputs: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: list[Report] = field(default_factory=list)
    stalls: Stalls = field(default_factory=Stalls)
    seconds: float = 0.0
    growth: float = 0.0
    left: float = 0.0
    tracebacks: int = 0
    log: float = 0.0
    following: int = 0

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "inputs": dict(self.inputs),
            "outcomes": dict(self.outcomes.most_common()),
            "findings": msgspec.to_builtins(self.findings),
            "seconds": round(self.seconds, 1),
            "per_second": round(self.inputs.total() / max(self.seconds, 1e-9)),
            "worst_ms": {kind: round(one * 1e3) for kind, one in self.seen.slowest.items()},
            "lag_ms": round(self.seen.lag * 1e3),
            "harm": dict(self.seen.harm),
            "stalls": self.stalls.long if self.stalls.known else None,
            "growth_mib": round(self.growth),
            "left_mib": round(self.left),
            "tracebacks": self.tracebacks,
            "log_kib": round(self.log),
            "next_batch": self.following,
        }


class Parts:
    """The processes of a run, as a source of what they say."""

    def __init__(self, plan: Plan, port: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(plan.parts):
            count = len(range(number, plan.batches, plan.parts))
            orders = Orders(port, SOURCE, plan.seed, plan.first + number, plan.parts, count)
            self._begin(orders)

    def _begin(self, orders: Orders) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.properties.part"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        process.stdin.close()
        self._processes.append(process)
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def facts(self) -> Iterator[Report | Finding]:
        """Everything that they say, until they are through."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                line = key.fileobj.readline()  # type: ignore[union-attr]
                if not line:
                    self._selector.unregister(key.fileobj)
                    continue
                kind = Report if b'"outcomes"' in line else Finding
                yield msgspec.json.decode(line, type=kind)

    def close(self) -> None:
        """End those that still work."""
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._selector.close()


def perform(plan: Plan, arena: Arena, say: Callable[[str], None]) -> Outcome:
    """Send everything, and look at what it did."""
    arena.watch.report()
    server, before = arena.server, stalls(page(arena.metrics))
    log, base, begun = server.log_size, Gauge(server.pid).now, time.monotonic()
    outcome = Outcome(Seen(0, 0.0, {}))
    parts = Parts(plan, server.port)
    try:
        with Gauge(server.pid) as gauge:
            for number, fact in enumerate(parts.facts(), 1):
                _take(outcome, fact)
                if number % 200 == 0:
                    say(_progress(outcome, time.monotonic() - begun))
    finally:
        parts.close()
    outcome.seconds = time.monotonic() - begun
    time.sleep(_SETTLING)
    if server.running:
        outcome.seen = arena.watch.report()
    else:
        outcome.findings.append(Finding(0, "the server is gone", ""))
    outcome.stalls = stalls(page(arena.metrics)).since(before)
    outcome.growth = (gauge.most - base) / MIB
    said = server.log[log:]
    outcome.log, outcome.tracebacks = len(said) / 1024, said.count("\nTraceback (most")
    outcome.left = _left(gauge, base, plan.patience)
    outcome.following = plan.first + plan.batches
    return outcome


def _take(outcome: Outcome, fact: Report | Finding) -> None:
    if isinstance(fact, Finding):
        outcome.findings.append(fact)
        return
    outcome.inputs[fact.kind] += fact.inputs
    outcome.outcomes.update({f"{fact.kind} {name}": count for name, count in fact.outcomes.items()})
    outcome.findings += fact.findings
    outcome.slowest = sorted([*outcome.slowest, fact], key=lambda one: -one.seconds)[:5]


def _left(gauge: Gauge, base: int, patience: float) -> float:
    end = time.monotonic() + patience
    while (left := (gauge.now - base) / MIB) > 64 and time.monotonic() < end:
        time.sleep(_STEP)
    return left


def _progress(outcome: Outcome, seconds: float) -> str:
    total = outcome.inputs.total()
    return f"{total:,} inputs, {total / seconds:,.0f}/s, {len(outcome.findings)} findings"


__all__ = ["SIZE", "Outcome", "Plan", "perform"]
