"""A run's results as JSON values."""

from __future__ import annotations

import os
import platform
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

import happy
from happy.bench.coordinator import Run
from happy.bench.histogram import Histogram
from happy.bench.observe import Sample
from happy.bench.recorder import Period

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
_SHORTEST = 0.2
"""Seconds between samples that a rate can be told from: CPU time is counted in hundredths."""
MEASURES = {
    "messages": "messages",
    "fanout": "deliveries",
    "rpc": "calls",
    "idle": "connections",
    "connect": "connections",
}
"""What a scenario is about, where CPU can be told for each."""


def summarise(run: Run, url: str, command: list[str]) -> dict[str, Any]:
    """The report of a run; every duration in it is named with its unit."""
    measured = run.measured
    seconds = max(run.elapsed - run.warmup, 1e-9)
    errors = _errors(run)
    return {
        "tool": f"happyctl bench {happy.__version__}",
        "command": command,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "server": url,
        "scenario": run.load.scenario,
        "load": msgspec.to_builtins(run.load),
        "workers": run.workers,
        "seconds": round(seconds, 3),
        "measures": _measures(measured, seconds),
        "errors": errors,
        **run.verdict.dump(),
        "clean": run.verdict.clean and not errors,
        "figures": {name: round(value, 3) for name, value in _figures(run).items()},
        "use": _use(run, measured, seconds),
        "series": _series(run),
        "use_series": _use_series(run.samples),
    }


def machine() -> dict[str, Any]:
    """Where the tool ran."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _errors(run: Run) -> dict[str, int]:
    """All errors, those of the warm-up and of the verification as well."""
    whole = Period()
    for period in [*run.seconds.values(), run.late]:
        whole.add(period)
    return dict(whole.errors.most_common())


def _measures(period: Period, seconds: float) -> dict[str, Any]:
    return {
        name: {
            "count": amount,
            "per_second": round(amount / seconds, 1),
            **(_latency(period.durations[name]) if name in period.durations else {}),
        }
        for name, amount in sorted(period.amounts.items())
    }


def _latency(histogram: Histogram) -> dict[str, Any]:
    quantiles = {name: round(histogram.quantile(part) * 1e3, 3) for name, part in _QUANTILES.items()}
    return {"latency_ms": {**quantiles, "mean": round(histogram.mean * 1e3, 3)}}


def _figures(run: Run) -> dict[str, float]:
    """What a scenario adds of its own."""
    figures = dict(run.figures)
    first, last = run.samples[0], run.samples[-1]
    sockets = figures.get("sockets")
    if sockets and first.server_memory is not None and last.server_memory is not None:
        figures["server_kib_per_socket"] = (last.server_memory - first.server_memory) / sockets / 1024
    if sockets and figures.get("connecting_seconds"):
        figures["connections_per_second"] = sockets / figures["connecting_seconds"]
    return figures


def _use(run: Run, measured: Period, seconds: float) -> dict[str, Any]:
    """CPU and memory of everybody in the measured time."""
    first = next((one for one in run.samples if one.time >= run.samples[0].time + run.warmup), run.samples[0])
    last = run.samples[-1]
    share = (run.elapsed - run.warmup) / max(last.time - first.time, 1e-9)
    count = measured.amounts.get(MEASURES.get(run.load.scenario, ""), 0)
    use = {"tool": {"cpu_seconds": round(run.tool_cpu, 2), "cores": round(run.tool_cpu / run.elapsed, 3)}}
    for name in ("server", "postgres", "redis"):
        one = _use_of(name, first, last, share, count, seconds)
        if one is not None:
            one["memory_mib_most"] = _most(run.samples, f"{name}_memory")
            use[name] = one
    return use


def _use_of(
    name: str, first: Sample, last: Sample, share: float, count: int, seconds: float
) -> dict[str, float] | None:
    before, after = getattr(first, f"{name}_cpu"), getattr(last, f"{name}_cpu")
    if before is None or after is None:
        return None
    cpu = (after - before) * share
    use = {"cpu_seconds": round(cpu, 2), "cores": round(cpu / seconds, 3)}
    if count:
        use["cpu_us_each"] = round(cpu / count * 1e6, 1)
    return use


def _most(samples: list[Sample], name: str) -> float:
    return round(max(getattr(one, name) or 0 for one in samples) / 2**20, 1)


def _series(run: Run) -> list[dict[str, Any]]:
    """Second by second, from the beginning."""
    return [
        {
            "second": second,
            "errors": period.errors.total(),
            "measures": _measures(period, 1.0),
        }
        for second, period in sorted(run.seconds.items())
    ]


def _use_series(samples: list[Sample]) -> list[dict[str, float]]:
    """CPU and memory from sample to sample; ``second`` counts from the first."""
    series = []
    for before, after in pairwise(samples):
        seconds = after.time - before.time
        if seconds < _SHORTEST:
            continue
        point = {"second": round(after.time - samples[0].time, 2)}
        for name in ("server", "postgres", "redis"):
            start, end = getattr(before, f"{name}_cpu"), getattr(after, f"{name}_cpu")
            memory = getattr(after, f"{name}_memory")
            if start is not None and end is not None and memory is not None:
                point[f"{name}_cores"] = round(max(0.0, end - start) / seconds, 3)
                point[f"{name}_memory_mib"] = round(memory / 2**20, 1)
        series.append(point)
    return series
