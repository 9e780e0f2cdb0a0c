"""A report as one self-contained page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from happy.bench.style import STYLE
from happy.bench.svg import Points, plot

_CHECKS = ("lost", "duplicated", "reordered", "unstored")


def render(report: dict[str, Any]) -> str:
    """The page; needs nothing but a browser."""
    title = f"{report['scenario']}: {report['server']}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"{''.join(_body(report, title))}</body></html>\n"
    )


def _body(report: dict[str, Any], title: str) -> Iterator[str]:
    machine = report["machine"]
    yield f"<h1>{escape(title)}</h1>"
    yield _facts(f"{report['date']}, {report['seconds']:.1f} s, {report['tool']}")
    yield _facts(f"{machine['cores']} cores, {machine['processor']}, {machine['system']}")
    yield f'<p class="facts"><code>{escape(" ".join(report["command"]))}</code></p>'
    yield _verdict(report)
    yield _measures(report["measures"])
    yield _figures(report["figures"])
    yield _use(report["use"])
    yield from _plots(report)


def _facts(text: str) -> str:
    return f'<p class="facts">{escape(text)}</p>'


def _verdict(report: dict[str, Any]) -> str:
    found = [f"{report[name]:,} {name}" for name in _CHECKS] + [f"{sum(report['errors'].values()):,} errors"]
    kind = "good" if report["clean"] else "bad"
    errors = "".join(f"<li>{count:,} x {escape(reason)}</li>" for reason, count in report["errors"].items())
    return f'<p class="{kind}">{", ".join(found)}</p><ul>{errors}</ul>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(one)}</td>' for one in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _measures(measures: dict[str, Any]) -> str:
    columns = ("p50", "p95", "p99", "max")
    rows = []
    for name, measure in measures.items():
        latency = measure.get("latency_ms", {})
        times = [f"{latency[one]:,.2f}" if one in latency else "" for one in columns]
        rows.append([name, f"{measure['count']:,}", f"{measure['per_second']:,.1f}", *times])
    heads = ["", "count", "a second", *(f"{one} ms" for one in columns)]
    return f"<h2>What was done</h2>{_table(heads, rows)}"


def _figures(figures: dict[str, float]) -> str:
    if not figures:
        return ""
    return _table(
        ["", "value"], ([name.replace("_", " "), f"{value:,.2f}"] for name, value in figures.items())
    )


def _use(use: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{one['cpu_seconds']:,.2f}",
            f"{one['cores']:.2f}",
            f"{one['cpu_us_each']:,.1f}" if "cpu_us_each" in one else "",
            f"{one['memory_mib_most']:,.0f}" if "memory_mib_most" in one else "",
        ]
        for name, one in use.items()
    ]
    heads = ["", "CPU s", "cores", "CPU us each", "memory MiB"]
    return f"<h2>What it took</h2>{_table(heads, rows)}"


def _plots(report: dict[str, Any]) -> Iterator[str]:
    series = report["series"]
    timed = sorted(
        {name for one in series for name, measure in one["measures"].items() if "latency_ms" in measure}
    )
    counted = sorted({name for one in series for name in one["measures"]})
    rates = {name: _line(series, name, "per_second") for name in counted}
    yield f"<h2>In each second</h2>{plot(rates, '/s')}"
    for name in timed:
        lines = {one: _line(series, name, one) for one in ("p50", "p99", "max")}
        yield f"<h2>{escape(name)}: latency in each second</h2>{plot(lines, 'ms')}"
    for what, unit in (("cores", "cores"), ("memory_mib", "MiB")):
        lines = {
            who: [
                (one["second"], one[f"{who}_{what}"])
                for one in report["use_series"]
                if f"{who}_{what}" in one
            ]
            for who in ("server", "postgres", "redis")
        }
        if any(lines.values()):
            yield f"<h2>{'CPU' if what == 'cores' else 'Memory'}</h2>{plot(lines, unit)}"


def _line(series: list[dict[str, Any]], name: str, what: str) -> Points:
    """One measure's values over the seconds in which it happened."""
    points = []
    for one in series:
        measure = one["measures"].get(name, {})
        value = measure.get(what, measure.get("latency_ms", {}).get(what))
        if value is None and what == "per_second":
            value = 0
        if value is not None:
            points.append((one["second"], value))
    return points
