"""The clock that deadlines follow, and the one that may be set to another hour."""

from __future__ import annotations

import ast
import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import asyncioreactor, base, epollreactor, pollreactor, selectreactor
from twisted.internet.task import Clock, LoopingCall

import happy
from happy.base.clocks import Hesitant, follow_monotonic_time

HOUR = 3600.0
PACKAGE = Path(happy.__file__).parent


def asyncio_reactor() -> Any:
    return asyncioreactor.AsyncioSelectorReactor(asyncio.new_event_loop())


REACTORS = {
    "epoll": epollreactor.EPollReactor,
    "poll": pollreactor.PollReactor,
    "select": selectreactor.SelectReactor,
    "asyncio": asyncio_reactor,
}


@pytest.fixture(params=REACTORS)
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A reactor of each kind, new and not that of the process."""
    made: Any = REACTORS[request.param]()
    yield made
    for selectable in made.removeAll():
        selectable.connectionLost(None)


def run(reactor: Any) -> None:
    """Run until it stops itself; one whose timers do not come is stopped after a while."""
    watchdog = threading.Timer(10, reactor.callFromThread, [reactor.stop])
    watchdog.start()
    reactor.run(installSignalHandlers=False)
    watchdog.cancel()


def test_timers_of_every_kind(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers fire in their order when the wall clock goes back, those that were set before too."""
    wall = [HOUR]
    reactor.seconds = lambda: wall[0] + time.monotonic()
    fired: list[str] = []
    reactor.callLater(HOUR, fired.append, "cancelled").cancel()
    reactor.callLater(0.001, fired.append, "cancelled").cancel()
    old = reactor.callLater(0.05, fired.append, "set before")
    moved = reactor.callLater(HOUR, fired.append, "moved")
    follow_monotonic_time(reactor)
    monkeypatch.setattr(base, "runtimeSeconds", None)
    wall[0] = -HOUR
    assert old.getTime() - time.monotonic() <= 0.05
    moved.reset(0.1)
    reactor.callLater(0.02, fired.append, "set after")
    late = reactor.callLater(0.03, fired.append, "put off")
    late.delay(0.12)
    repeated: list[None] = []
    loop = LoopingCall(repeated.append, None)
    loop.clock = reactor
    loop.start(0.05)
    reactor.callLater(0.2, reactor.stop)
    run(reactor)
    loop.stop()
    assert fired == ["set after", "set before", "moved", "put off"]
    assert len(repeated) > 1


def test_many_timers_keep_their_order(reactor: Any) -> None:
    """Of timers that are set already none overtakes another, however many of them were cancelled."""
    reactor.seconds = lambda: HOUR + time.monotonic()
    order: list[int] = []
    calls = [reactor.callLater(number / 1000, order.append, number) for number in (5, 3, 9, 1, 7, 2, 8)]
    reactor.timeout()  # sorts them in
    for call in calls[1:4]:
        call.cancel()
    follow_monotonic_time(reactor)
    reactor.callLater(0.02, reactor.stop)
    run(reactor)
    assert order == [2, 5, 7, 8]


def test_what_is_no_reactor_keeps_its_time() -> None:
    """A clock of a test's own is left alone."""
    clock = Clock()
    follow_monotonic_time(clock)
    clock.advance(5)
    assert clock.seconds() == 5


class TestHesitant:
    """A wall clock whose steps ahead are not believed at once."""

    def setup_method(self) -> None:
        self.clock, self.offset = Clock(), 1000.0
        self.time = Hesitant(self.clock, lambda: self.clock.seconds() + self.offset, 600)

    def after(self, *seconds: float) -> list[float]:
        """What it shows after each of these times, as a difference from the steady time."""
        shown = []
        for pause in seconds:
            self.clock.advance(pause)
            shown.append(self.time() - self.clock.seconds())
        return shown

    def test_steady(self) -> None:
        """It goes as the wall clock goes, also where that is slowly put right."""
        assert self.after(0, 60, 60) == [1000, 1000, 1000]
        self.offset += 0.2
        assert self.after(600) == [1000.2]

    def test_a_step_ahead(self) -> None:
        """It is believed when it has lasted; another one begins the wait anew."""
        self.offset += HOUR
        assert self.after(60, 599) == [1000, 1000]
        self.offset += HOUR
        assert self.after(60, 599) == [1000, 1000]
        assert self.after(1) == [1000 + 2 * HOUR]

    def test_a_step_back(self) -> None:
        """It is believed at once; a step ahead that was taken back never was."""
        self.offset += HOUR
        assert self.after(60) == [1000]
        self.offset -= HOUR
        assert self.after(60) == [1000]
        self.offset -= HOUR
        assert self.after(0, 60) == [1000 - HOUR, 1000 - HOUR]


WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
READERS = {
    ("logs/bounded.py", "time.time"),
    ("base/ids.py", "time.time_ns"),
    ("outbound/s3.py", "datetime.now"),
    ("web/sending.py", "time.time"),
}
"""Where the wall clock is read without being asked for as ``now``: what they make is stored or shown."""


def calls_of(path: Path) -> Iterator[str]:
    """The dotted names of what a module calls; names imported from ``time`` with the module's."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield f"time.{name}" if name in imported else name


def test_who_reads_the_wall_clock() -> None:
    """Modules of the server, not programs, are given the time as ``now``; exceptions are named above."""
    programs = ("backup", "bench", "client", "operator")
    own: Callable[[Path], bool] = lambda path: path.parts[0] not in programs  # noqa: E731
    modules = [path for path in PACKAGE.rglob("*.py") if own(path.relative_to(PACKAGE))]
    found = {
        (str(path.relative_to(PACKAGE)), name) for path in modules for name in calls_of(path) if name in WALL
    }
    assert found == READERS
