"""How much is written in a minute, and what is told about the rest."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from twisted.internet.task import Clock

from happy.logs.plain import Subject
from happy.logs.throttle import (
    BYTES,
    MOST_SUBJECTS,
    MOST_SUMMARIES,
    OPERATORS,
    OTHERS,
    OVERHEAD,
    QUIET,
    SAME,
    WINDOW,
    Throttle,
    share_of,
)


class Windows:
    """A throttle on a clock, and how many messages were written."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock.seconds)
        assert self.throttle.over
        self.throttle.turn()

    def say(self, subject: Subject, times: int = 1, size: int = 100) -> int:
        """How many of so many messages of a subject are written."""
        written = 0
        for _ in range(times):
            if self.throttle.wants(subject) and self.throttle.pays(subject, size):
                written += 1
            else:
                self.throttle.leave_out(subject, lambda: subject.what)
        return written

    def pass_by(self, seconds: float = WINDOW) -> dict[str, int]:
        """Let time go on, which ends the window; what was left out in it, by what it said."""
        self.clock.advance(seconds)
        assert self.throttle.over
        return {left.summary: left.number for left in self.throttle.turn()}


def message(what: str, namespace: str = "happy.web.site.HappySite") -> Subject:
    return Subject(namespace, "error", what, False)


def failure(what: str, namespace: str = "twisted.internet.defer") -> Subject:
    return Subject(namespace, "critical", what, True)


def test_the_same() -> None:
    """Of the same the first few are written in each minute, and the others told by their number."""
    windows = Windows()
    assert windows.say(message("a"), 1000) == SAME
    assert windows.say(message("b"), 2) == 2
    assert windows.pass_by() == {"a": 1000 - SAME}
    assert windows.throttle.quiet
    assert windows.say(message("a"), 3) == 3
    assert windows.pass_by() == {}


def test_the_same_failure() -> None:
    """A failure is written once an hour, and its number told every minute."""
    windows = Windows()
    assert windows.say(failure("x"), 10) == 1
    assert windows.pass_by() == {"x": 9}
    assert windows.say(failure("x"), 10) == 0
    assert windows.pass_by(QUIET) == {"x": 10}
    assert windows.say(failure("x")) == 1


def test_bytes() -> None:
    """What would go beyond the bytes of the minute is counted; the next minute has as many."""
    windows = Windows()
    fitting = BYTES["clients"] // (100 + OVERHEAD)
    subjects = [message(str(number)) for number in range(fitting + 3)]
    assert sum(windows.say(subject) for subject in subjects) == fitting
    assert windows.pass_by() == {subject.what: 1 for subject in subjects[fitting:]}
    assert windows.say(subjects[-1]) == 1


def test_shares() -> None:
    """Whoever spends its bytes leaves those of the others untouched."""
    windows = Windows()
    pressing = (failure, message)
    for number in range(500):
        for kind in pressing:
            windows.say(kind(str(number)), size=1000)
            windows.say(message(str(number), "happy.postgres.logs.LogSink"), size=1000)
    for namespace in (
        "happy.tap.HappyService",
        "happy.postgres.service.EmbeddedPostgres",
        "happy.service.composition",
    ):
        assert windows.say(message("news", namespace)) == 1
        assert windows.say(failure("news", namespace)) == 1


@pytest.mark.parametrize(
    ("namespace", "share"),
    [
        ("happy.tap.HappyService", "operator"),
        ("happy.service.composition.Running", "operator"),
        ("happy.postgres.service.EmbeddedPostgres", "operator"),
        ("twisted.scripts._twistd_unix.UnixAppLogger", "operator"),
        ("happy.postgres.logs.LogSink", "database"),
        ("happy.capabilities.debug_log", "development"),
        ("happy.api.pipeline", "clients"),
        ("log_legacy", "clients"),
        ("autobahn.twisted.websocket", "clients"),
    ],
)
def test_whose(namespace: str, share: str) -> None:
    """Messages take the bytes of whom they matter to."""
    assert share_of(message("x", namespace)) == share


def test_who_is_there() -> None:
    """Each namespace that has a share of its own is a module's or a room's, or a class's in it."""
    for name in (*OPERATORS, *OTHERS):
        module = ".".join(part for part in name.split(".") if part.islower())
        assert find_spec(module) is not None, name


def test_every_subject_is_told() -> None:
    """More subjects than there are lines for are told minute by minute; none is told twice, or never."""
    windows = Windows()
    subjects = [failure(str(number)) for number in range(300)]
    written = {subject.what for subject in subjects if windows.say(subject, size=2000)}
    told: list[str] = []
    for _ in range(300 // MOST_SUMMARIES + 1):
        told += windows.pass_by()
    assert len(told) == len(set(told))
    assert written | set(told) == {subject.what for subject in subjects}
    assert windows.throttle.quiet


def test_endless_subjects() -> None:
    """Of an endless number of subjects only so many are kept; the others are one number."""
    windows = Windows()
    for number in range(3 * MOST_SUBJECTS):
        windows.say(message(str(number)))
    told: list[int] = []
    while not windows.throttle.quiet:
        told += windows.pass_by().values()
    assert len(told) <= MOST_SUBJECTS + 1
    written = 3 * MOST_SUBJECTS - sum(told)
    assert 0 < written <= BYTES["clients"] // OVERHEAD


def test_development() -> None:
    """Lines of development builds are bounded by bytes alone."""
    windows = Windows()
    line = message("[{source}] {text}", "happy.capabilities.debug_log")
    assert windows.say(line, 100) == 100
    assert windows.say(line, 10_000) < 1000
