"""Rounds of work, with rounds that fail and rounds that do not end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, Logger, formatEvent, globalLogPublisher

from happy.base.rounds import Rounds
from happy.base.trouble import REMINDER, Trouble


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged."""
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


class Work:
    """Counts rounds, which do what ``behave`` does."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.begun = 0
        self.fault: Exception | None = None
        self.waits: Deferred[None] | None = None
        self.rounds = Rounds("the work", self._round, self.clock, seconds=10, patience=25)

    async def _round(self) -> None:
        self.begun += 1
        if self.waits is not None:
            await self.waits
        if self.fault is not None:
            raise self.fault

    def pass_by(self, seconds: int) -> int:
        """How many rounds begin in so many seconds."""
        before = self.begun
        self.clock.pump([1] * seconds)
        return self.begun - before


def test_regularly() -> None:
    """A round comes after each interval, and at once if that is asked for, until the stop."""
    work = Work()
    work.rounds.start()
    assert (work.begun, work.pass_by(30)) == (0, 3)
    work.rounds.stop()
    work.rounds.stop()
    assert work.clock.getDelayedCalls() == []
    work = Work()
    work.rounds.start(at_once=True)
    assert work.begun == 1


def test_one_at_a_time() -> None:
    """While a round lasts, no other begins."""
    work = Work()
    work.waits = Deferred()
    work.rounds.start(at_once=True)
    assert work.pass_by(20) == 0
    work.waits.callback(None)
    assert work.pass_by(10) == 1


def test_rounds_that_fail(lines: list[str]) -> None:
    """They do not end the rounds; the first is logged, and how many they were when it works again."""
    work = Work()
    work.fault = ValueError("a value that must not be logged")
    work.rounds.start()
    assert work.pass_by(50) == 5
    work.fault = None
    assert work.pass_by(50) == 5
    first, last = lines
    assert first.startswith("the work failed: ValueError < ")
    assert "must not" not in first
    assert last == "the work works again, after 5 failures"


def test_a_round_without_an_end(lines: list[str]) -> None:
    """It is cancelled when its time is up, and the next ones come."""
    work = Work()
    work.waits = Deferred(lambda _: None)
    work.rounds.start(at_once=True)
    assert work.pass_by(24) == 0
    work.clock.advance(1)
    assert work.waits.called
    work.waits = None
    assert work.pass_by(20) == 2
    assert [line.partition(" <")[0] for line in lines] == [
        "the work failed: TimeoutError",
        "the work works again, after 1 failures",
    ]


def test_stop_during_a_round(lines: list[str]) -> None:
    """The round is cancelled without a word, and is the last one."""
    work = Work()
    work.waits = Deferred()
    work.rounds.start(at_once=True)
    work.rounds.stop()
    assert work.waits.called
    assert work.pass_by(50) == 0
    assert work.clock.getDelayedCalls() == []
    assert lines == []


def test_stop_by_the_round_itself() -> None:
    """What stops the rounds within a round is done to its end."""
    work = Work()
    done = []

    async def stopping() -> None:
        work.rounds.stop()
        await deferLater(work.clock, 1)
        done.append(True)

    work.rounds = Rounds("the work", stopping, work.clock, seconds=10, patience=25)
    work.rounds.start()
    work.pass_by(30)
    assert done == [True]
    assert work.clock.getDelayedCalls() == []


def test_trouble_that_lasts(lines: list[str]) -> None:
    """Of trouble without an end there is a line once in a while, with the count."""
    clock = Clock()
    trouble = Trouble(Logger(), "it", clock)
    for _ in range(int(REMINDER)):
        trouble.again("why")
        clock.advance(1)
    trouble.again("something else")
    assert lines == ["it failed: why", f"it failed ({int(REMINDER) + 1} times so far): something else"]
