"""What stands before the places that a log is written to."""

from __future__ import annotations

import io
import json
import re
import syslog
import warnings
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogBeginner,
    Logger,
    LogLevel,
    LogPublisher,
    formatEvent,
    jsonFileLogObserver,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.python.syslog import SyslogObserver

from happy.logs.bounded import FOREIGN, FULL, REPEATED, UNWRITTEN, BoundedLog, stand_before
from happy.logs.throttle import WINDOW

BOUND = 100 * 1024
"""Bytes in any minute, whatever clients do."""


class World:
    """A log of text on a clock of its own, with the time at which each line was written."""

    def __init__(self, level: str = "info") -> None:
        self.clock = Clock()
        self.log = BoundedLog(level, self.clock.seconds)
        self.log.discreet = True
        self.log.later = lambda seconds, call: self.clock.callLater(seconds, call)
        self.left_out: list[str] = []
        self.log.left_out = self.left_out.append
        self.text = io.StringIO()
        self.sizes: list[tuple[float, int]] = []
        self.log.observers = [textFileLogObserver(self.text), self._measure]

    def _measure(self, event: Any) -> None:
        self.sizes.append((self.clock.seconds(), self.text.tell()))

    def logger(self, namespace: str) -> Logger:
        return Logger(namespace, observer=self.log)

    @property
    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.text.getvalue().splitlines()]

    def most_in_a_minute(self) -> int:
        """The most bytes between two moments that are a minute apart."""
        ends = [(-1.0, 0), *self.sizes]
        most = 0
        for number, (_, before) in enumerate(ends[:-1]):
            began = ends[number + 1][0]
            most = max(most, *(size - before for when, size in ends[number + 1 :] if when < began + WINDOW))
        return most


def test_counted() -> None:
    """What is said too often is told by its number when the minute is over, without anything new."""
    world = World()
    for _ in range(1239):
        world.logger("happy.web").error("{service} did not answer, {number}", service="expo", number=7)
    assert world.lines == ["[happy.web#error] expo did not answer, 7"] * 5
    world.clock.advance(WINDOW)
    said = "left out 1,234 times in the last minute, such as: expo did not answer, 7"
    assert world.lines[5:] == [f"[happy.web#error] {said}"]
    assert world.left_out == [REPEATED] * 1234
    assert world.clock.getDelayedCalls() == []


def test_fault() -> None:
    """A fault that we have a line for is written once, like a failure, and then counted."""
    world = World()
    for _ in range(3):
        for place in ("a.py:1 f", "a.py:2 f"):
            world.logger("happy.web").error("Answering failed: {fault}", fault=f"KeyError < {place}")
        world.clock.advance(WINDOW)
    assert [line.partition("] ")[2] for line in world.lines] == [
        "Answering failed: KeyError < a.py:1 f",
        "Answering failed: KeyError < a.py:2 f",
        *[f"left out once in the last minute: Answering failed: KeyError < a.py:{n} f" for n in (1, 2)] * 2,
    ]


def test_told_at_the_end() -> None:
    """A server that stops tells what it has counted until then."""
    world = World()
    for _ in range(7):
        world.logger("happy.web").error("trouble")
    world.log.tell()
    assert "left out 2 times in the last minute, such as: trouble" in world.lines[-1]


def test_printed_before_the_start() -> None:
    """Before clients can be heard, each line that something prints is written, not only the first few."""
    world = World()
    world.log.discreet = False
    for number in range(20):
        world.logger("stderr").error("{log_io}", log_io=f"line {number}")
    assert world.lines == [f"[stderr#error] line {number}" for number in range(20)]


def test_events_without_room() -> None:
    """An event that there were no bytes for is told with its values, as every line is."""
    world = World()
    events = world.logger("happy.logs.events.Events")
    for number in range(50):
        events.warn("{count:,} {what}: {reason}", count=1234, what="logins refused", reason=f"{number:0800}")
    world.clock.advance(WINDOW)
    summaries = [line for line in world.lines if "left out" in line]
    assert summaries
    assert all("once in the last minute: 1,234 logins refused: 000" in line for line in summaries)


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error"])
def test_levels(level: str) -> None:
    """Messages below the level are not written, nor counted."""
    world = World(level)
    names = ["debug", "info", "warn", "error", "critical"]
    for name in names:
        world.logger("happy.web").emit(LogLevel.lookupByName(name), "said")
    assert [line.split("#")[1].split("]")[0] for line in world.lines] == names[names.index(level) :]
    assert world.left_out == []


def test_foreign() -> None:
    """What a library says in passing is left out once clients may have been heard, and written before."""
    world = World()
    world.logger("log_legacy").info("{log_text}", log_text="of 192.0.2.1")
    assert (world.lines, world.left_out) == ([], [FOREIGN])
    world.log.discreet = False
    world.logger("log_legacy").info("{log_text}", log_text="starting")
    assert world.lines == ["[log_legacy#info] starting"]


def test_disk_full() -> None:
    """A place that cannot be written to hurts no other, and is written to when it can be again."""
    world = World()
    full = True

    def write(event: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        written.append(event)

    written: list[Any] = []
    world.log.observers.insert(0, write)
    world.logger("happy.web").error("one")
    full = False
    world.logger("happy.web").error("two")
    assert (len(written), len(world.lines)) == (1, 2)
    assert world.left_out == [UNWRITTEN]


def test_threads() -> None:
    """Threads may log at the same time; nothing is lost, or counted twice."""
    world = World()

    def work() -> None:
        for _ in range(200):
            world.logger("happy.web").error("trouble")

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(world.lines), world.left_out) == (5, [REPEATED] * 1595)


def _json(written: io.StringIO) -> ILogObserver:
    return jsonFileLogObserver(written, "")


def _syslog(written: io.StringIO) -> ILogObserver:
    observer = SyslogObserver("happy")
    observer.syslog = lambda priority, line: written.write(f"{priority & syslog.LOG_ALERT} {line}\n")
    return LegacyLogObserverWrapper(observer.emit)


@pytest.mark.parametrize("observer", [textFileLogObserver, _json, _syslog])
def test_every_form(observer: Callable[[io.StringIO], ILogObserver]) -> None:
    """Whatever form the log has, it holds the same, and nothing that was a value of the event."""
    written = io.StringIO()
    log = BoundedLog()
    log.discreet = True
    log.observers = [observer(written)]
    logger = Logger("twisted.web", observer=log)
    logger.warn("Timing out {peer}", peer="192.0.2.1")
    for _ in range(20):
        try:
            raise ValueError("192.0.2.1")
        except ValueError:
            logger.failure("", secret="192.0.2.1")
    text = written.getvalue()
    assert "Timing out {peer}" in text.replace("{{", "{").replace("}}", "}")
    assert text.count("ValueError") == 1
    assert "192.0.2.1" not in text
    if observer is _json:
        assert all(json.loads(line)["log_namespace"] == "twisted.web" for line in text.splitlines())


def test_stands_before() -> None:
    """However logging begins, it begins with the bounded log, which also gets what was said before."""
    publisher = LogPublisher()
    world = World()
    beginner = LogBeginner(publisher, io.StringIO(), io, warnings)
    undo = stand_before(world.log, beginner)
    Logger("happy.web", observer=publisher).error("before")
    seen: list[Any] = []
    beginner.beginLoggingTo([seen.append], redirectStandardIO=False)  # type: ignore[list-item]
    Logger("happy.web", observer=publisher).error("after")
    assert [formatEvent(event) for event in seen] == ["before", "after"]
    undo()
    beginner.beginLoggingTo([alone := [].append], redirectStandardIO=False)  # type: ignore[list-item]
    assert world.log.observers[-1] is not alone


FAULTS = [type(f"Fault{number}", (Exception,), {}) for number in range(60)]


@st.composite
def actions(draw: st.DrawFn) -> tuple[str, int, float]:
    """A kind of event, which of them, and the seconds until it comes."""
    kind = draw(st.sampled_from(["fault", "trouble", "library", "operator"]))
    pause = draw(st.sampled_from([0.0, 0.0, 0.0, 0.5, 20.0, 59.9, 61.0]))
    return kind, draw(st.integers(0, len(FAULTS) - 1)), pause


def act(world: World, kind: str, which: int) -> None:
    """Cause an event, in the way of a client that causes as much text as it can."""
    if kind == "fault":
        try:
            raise FAULTS[which]("x" * 10_000)
        except Exception:
            world.logger("twisted.internet.defer").failure("Unhandled", Failure())
    elif kind == "trouble":
        world.logger(f"happy.web.m{which}").error("{what} failed: {fault}", what="y" * 2000, fault="z")
    elif kind == "library":
        world.logger("autobahn").warn("w" * which * 100)
    else:
        world.logger("happy.tap").warn("news of {what}", what=f"<{which}>")


@settings(deadline=None, max_examples=50)
@given(st.lists(actions(), max_size=30), st.integers(1, 400))
def test_any_sequence(sequence: list[tuple[str, int, float]], times: int) -> None:
    """Whatever clients cause stays within the bound; each fault is seen, and what the operator must see."""
    world = World()
    caused = set()
    for kind, which, pause in sequence:
        world.clock.advance(pause)
        for _ in range(times if kind != "operator" else 1):
            act(world, kind, which)
        if kind == "fault":
            caused.add(FAULTS[which].__name__)
        if kind == "operator":
            assert f"[happy.tap#warn] news of <{which}>" in world.lines
    world.clock.pump([WINDOW] * 5)
    assert world.most_in_a_minute() < BOUND
    assert caused <= set(re.findall(r"Fault\d+", world.text.getvalue()))
    assert set(world.left_out) <= {REPEATED, FULL}
    assert world.clock.getDelayedCalls() == []
