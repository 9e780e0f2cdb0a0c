"""Reports from a run that never happened."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.bench import html, text
from happy.bench.coordinator import Run
from happy.bench.load import Load
from happy.bench.observe import Sample
from happy.bench.recorder import Period, Recorder
from happy.bench.summary import summarise
from happy.bench.svg import plot, ticks


def period(milliseconds: list[int], error: str | None = None) -> Period:
    """A second with messages that took so long."""
    recorder, whole = Recorder(), Period()
    for one in milliseconds:
        recorder.note("messages", one / 1000)
    if error is not None:
        recorder.error(error)
    whole.load(recorder.flush())
    return whole


@pytest.fixture
def run() -> Run:
    """Three seconds, the first of them to warm up."""
    run = Run(Load(scenario="messages", seconds=3), workers=1, warmup=1.0, elapsed=3.0, tool_cpu=0.6)
    run.seconds = {0: period([500]), 1: period([10] * 99), 2: period([20], "<lost> & found")}
    run.samples = [
        Sample(10.0 + second, second * 0.5, 50 * 2**20, second * 0.25, 2**20) for second in range(4)
    ]
    return run


def report_of(run: Run) -> dict[str, Any]:
    """The report as a file would hold it."""
    return dict(msgspec.json.decode(msgspec.json.encode(summarise(run, "http://x", ["happyctl bench"]))))


def test_warmup_does_not_count(run: Run) -> None:
    """Rates, latencies and CPU are those after the warm-up; errors are all errors."""
    report = report_of(run)
    assert report["seconds"] == 2.0
    messages = report["measures"]["messages"]
    assert (messages["count"], messages["per_second"]) == (100, 50.0)
    assert messages["latency_ms"]["max"] == 20.0
    assert messages["latency_ms"]["p50"] == pytest.approx(10, rel=0.02)
    assert report["errors"] == {"<lost> & found": 1}
    assert not report["clean"]


def test_use(run: Run) -> None:
    """CPU is told in all, as cores, and for each message; memory is the most that was seen."""
    use = report_of(run)["use"]
    assert use["server"] == {
        "cpu_seconds": 1.0,
        "cores": 0.5,
        "cpu_us_each": 10000.0,
        "memory_mib_most": 50.0,
    }
    assert use["postgres"]["cores"] == 0.25
    assert use["tool"] == {"cpu_seconds": 0.6, "cores": 0.2}


def test_invisible_server(run: Run) -> None:
    """A server on another machine has no CPU in the report."""
    run.samples = [Sample(10.0), Sample(13.0)]
    report = report_of(run)
    assert set(report["use"]) == {"tool"}
    assert "CPU" in text.render(report)
    assert "<svg" in html.render(report)


def test_memory_of_a_socket() -> None:
    """What a server grew by is divided among the sockets."""
    run = Run(Load(scenario="idle", seconds=1), workers=1, warmup=0, elapsed=1.0)
    run.figures = {"sockets": 1024}
    run.samples = [Sample(0.0, 0.0, 2**20), Sample(1.0, 0.0, 11 * 2**20)]
    assert report_of(run)["figures"]["server_kib_per_socket"] == 10.0


def test_text(run: Run) -> None:
    """The terminal gets what happened, what it took, and what went wrong."""
    shown = text.render(report_of(run))
    assert "100        50.0/s  p50 10" in shown
    assert "1 x <lost> & found" in shown
    assert "lost 0, duplicated 0, reordered 0, unstored 0" in shown


def test_html_is_well_formed(run: Run) -> None:
    """The page parses, escapes what the server said, and needs no other file."""
    page = html.render(report_of(run))
    body = ElementTree.fromstring(page[page.index("<body>") : page.index("</html>")])
    assert "1 x <lost> & found" in [item.text for item in body.iter("li")]
    assert "http:" not in page.replace("http://x", "")
    assert body.findall("svg")


@given(st.floats(0, 1e9, exclude_min=True), st.integers(2, 9))
def test_ticks(most: float, count: int) -> None:
    """Marks begin at 0, reach the largest value, and are neither few nor many."""
    marks = ticks(most, count)
    assert marks[0] == 0
    assert marks[-1] >= most * 0.99
    assert 2 <= len(marks) <= count + 2


def test_empty_plot() -> None:
    """Nothing to show is shown as nothing."""
    assert "<polyline" in plot({"calls": []}, "ms")
