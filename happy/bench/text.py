"""A report for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def render(report: dict[str, Any]) -> str:
    """The report in some twenty lines."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    machine = report["machine"]
    yield f"{report['scenario']} against {report['server']}, {report['seconds']:.1f} s, {report['date']}"
    yield f"{machine['cores']} cores ({machine['processor']}), {machine['system']}"
    yield ""
    for name, measure in report["measures"].items():
        amount = f"{measure['count']:>10,} {measure['per_second']:>11,.1f}/s"
        yield f"{name:<14}{amount}  {latency(measure)}".rstrip()
    for name, value in report["figures"].items():
        yield f"{name.replace('_', ' ')}: {value:,.1f}"
    yield ""
    for name, use in report["use"].items():
        yield f"{name:<10}{_use(use)}"
    yield ""
    yield ", ".join(f"{name} {report[name]:,}" for name in ("lost", "duplicated", "reordered", "unstored"))
    yield f"errors {sum(report['errors'].values()):,}"
    for reason, count in report["errors"].items():
        yield f"  {count:,} x {reason}"


def latency(measure: dict[str, Any]) -> str:
    """Quantiles in a row; empty for what takes no time."""
    found = measure.get("latency_ms", {})
    return "  ".join(f"{name} {value:,.2f} ms" for name, value in found.items() if name != "mean")


def _use(use: dict[str, Any]) -> str:
    parts = [f"CPU {use['cpu_seconds']:.2f} s ({use['cores']:.2f} cores)"]
    if "cpu_us_each" in use:
        parts.append(f"{use['cpu_us_each']:,.1f} us each")
    if "memory_mib_most" in use:
        parts.append(f"memory {use['memory_mib_most']:,.0f} MiB")
    return ", ".join(parts)
