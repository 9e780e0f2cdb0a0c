"""The curve of a soak as an SVG file of its own, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from happy.bench.style import STYLE
from happy.bench.svg import plot
from tests.soak.samples import Sample


def curve(samples: Sequence[Sample]) -> str:
    """Memory over the minutes, readable on its own."""
    picture, _, _ = _memory(samples).partition("</svg>")
    style = "<style>" + STYLE + "svg{background:var(--page)}</style>"
    start = picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, _, rest = start.partition(">")
    return f"{head}>{style}{rest}</svg>\n"


def sheet(samples: Sequence[Sample], facts: Sequence[str]) -> str:
    """A page with every curve."""
    minutes = [(one.second / 60, one) for one in samples]
    plots = {
        "Memory": _memory(samples),
        "Sockets and open files": plot(
            {
                "sockets": [(minute, one.sockets) for minute, one in minutes],
                "open files": [(minute, one.files) for minute, one in minutes],
            },
            "",
            "min",
        ),
        "Log": plot({"log": [(minute, one.log_kib) for minute, one in minutes]}, "KiB", "min"),
        "Stalls over 50 ms": plot(
            {"stalls": [(minute, one.stalls or 0) for minute, one in minutes]}, "", "min"
        ),
    }
    said = "".join(f'<p class="facts">{escape(fact)}</p>' for fact in facts)
    drawn = "".join(f"<h2>{title}</h2>{drawing}" for title, drawing in plots.items())
    head = f'<meta charset="utf-8"><title>Soak</title><style>{STYLE}</style>'
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>Soak</h1>{said}{drawn}</body></html>\n'
    )


def _memory(samples: Sequence[Sample]) -> str:
    lines = {
        "server": [(one.second / 60, one.memory) for one in samples],
        "of it kept for clients": [(one.second / 60, one.budget) for one in samples],
    }
    return plot(lines, "MiB", "min")
