"""How long the reactor stays with somebody, and who comes next, on a clock that work moves."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

from happy.base.pace import PORTION_SECONDS, QUEUE_SECONDS, TURN_SECONDS, Pace
from tests.socketio.peers import TurningClock

STEP = PORTION_SECONDS / 2


class Worker:
    """Has some steps to do, each of which takes ``seconds``, half a portion, and writes them down."""

    seconds = STEP

    def __init__(self, pace: Pace, clock: TurningClock, done: list[str], name: str, steps: int) -> None:
        self.pace, self.clock, self.done = pace, clock, done
        self.name, self.steps = name, steps

    def work(self) -> None:
        """A step takes its time."""
        self.clock.rightNow += self.seconds
        self.done.append(self.name)

    def go_on(self) -> None:
        while self.steps:
            self.steps -= 1
            self.work()
            if self.pace.over() and self.steps:
                self.pace.wait(self.name[0], self)
                return


def world() -> tuple[TurningClock, Pace, list[str]]:
    clock = TurningClock()
    return clock, Pace(clock), []


def test_turn_ages() -> None:
    """What arrives in a young turn is worked on at once; a new turn is young again."""
    clock, pace, _ = world()
    assert not pace.over()
    clock.rightNow += TURN_SECONDS
    assert pace.over()
    pace.begin()
    assert not pace.over()


def test_owners_take_turns() -> None:
    """However many of one owner wait, another waits for one portion of it."""
    clock, pace, done = world()
    for number in range(50):
        pace.wait("a", Worker(pace, clock, done, f"a{number}", 2))
    pace.wait("b", Worker(pace, clock, done, "b", 3))
    clock.advance(0)
    clock.advance(0)
    assert done[:6] == ["a0", "a0", "b", "b", "a1", "a1"]
    assert done.index("b") < 3
    while clock.getDelayedCalls():
        clock.advance(0)
    assert len(done) == 103
    assert [name for name in done if name == "b"] == ["b"] * 3


def test_who_has_little_to_do_comes_first() -> None:
    """However many owners have much to do, who comes now and then does not wait for a portion of each."""
    clock, pace, done = world()
    for place, owner in enumerate("bcdefghijklmnopqrstuvwxyz"):
        for _ in range(20):
            worker = Worker(pace, clock, done, owner, 2)
            worker.seconds = STEP * (1 + place / 100)
            pace.wait(owner, worker)
    for _ in range(20):
        clock.advance(0)
    for _ in range(5):
        before, worker = len(done), Worker(pace, clock, done, "a", 1)
        worker.seconds = STEP / 50
        pace.wait("a", worker)
        clock.advance(0)
        clock.advance(0)
        assert "a" in done[before:]


def test_what_took_long_is_soon_forgotten() -> None:
    """Whose piece of work took very long, maybe by no fault of its own, soon has its turn again."""
    clock, pace, done = world()
    slow = Worker(pace, clock, done, "a", 1)
    slow.seconds = 1.0
    pace.wait("a", slow)
    for owner in "bc":
        for _ in range(20):
            pace.wait(owner, Worker(pace, clock, done, owner, 2))
    clock.advance(0)
    pace.wait("a", Worker(pace, clock, done, "a", 1))
    while done.count("a") < 2:
        clock.advance(0)
    assert done.index("a", 1) <= 2 * 2 * 3 + 1


def test_turns_of_those_who_wait_end() -> None:
    """However much waits, a turn of the reactor is not taken up by it."""
    clock, pace, done = world()
    for number in range(50):
        pace.wait("a", Worker(pace, clock, done, f"a{number}", 2))
    before = clock.seconds()
    clock.advance(0)
    assert QUEUE_SECONDS <= clock.seconds() - before <= QUEUE_SECONDS + 2 * PORTION_SECONDS


def test_each() -> None:
    """Of many things as many are done as there is time for, the rest later; nothing is done twice."""
    clock, pace, done = world()
    worker = Worker(pace, clock, done, "a", 0)

    def things() -> Iterator[int]:
        yield from range(100)

    pace.each("a", things(), lambda thing: worker.work())
    assert len(done) == round(TURN_SECONDS / STEP)
    clock.advance(0)
    assert len(done) < 100
    while clock.getDelayedCalls():
        clock.advance(0)
    assert len(done) == 100


def test_soon() -> None:
    """What is to be done soon is done now, but not before what waits already."""
    clock, pace, done = world()
    pace.soon("a", lambda: done.append("first"))
    assert done == ["first"]
    clock.rightNow += TURN_SECONDS
    pace.soon("a", lambda: done.append("second"))
    pace.begin()
    pace.soon("a", lambda: done.append("third"))
    pace.soon("b", lambda: done.append("somebody else's"))
    assert done == ["first", "somebody else's"]
    clock.advance(0)
    assert done == ["first", "somebody else's", "second", "third"]
    assert not clock.getDelayedCalls()


def test_faults() -> None:
    """Neither one thing that fails nor one waiter keeps the others from their turn."""
    clock, pace, done = world()
    pace.each("a", ["1", "fault", "2"], lambda thing: done.append({"1": "1", "2": "2"}[thing]))
    assert done == ["1", "2"]
    pace.wait("a", SimpleNamespace(go_on=lambda: {}["missing"]))
    pace.wait("b", Worker(pace, clock, done, "b", 1))
    clock.advance(0)
    assert done == ["1", "2", "b"]


def test_turn() -> None:
    """Who asks for a turn gets it after others of the same owner, and not at once."""
    clock, pace, done = world()
    pace.wait("a", Worker(pace, clock, done, "a", 1))
    pace.turn("a").addCallback(lambda _: done.append("turn"))
    assert done == []
    clock.advance(0)
    assert done == ["a", "turn"]
    assert not clock.getDelayedCalls()
