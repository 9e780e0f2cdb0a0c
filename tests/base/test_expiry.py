"""Deadlines on one timer."""

from __future__ import annotations

from twisted.internet.task import Clock

from happy.base.expiry import Expiry


def test_expiry() -> None:
    """Each deadline is reached at its own time, in order; dropped ones never are."""
    clock = Clock()
    expiry = Expiry(clock, 30)
    reached: list[tuple[str, float]] = []

    def add(name: str) -> int:
        return expiry.add(lambda: reached.append((name, clock.seconds())))

    add("first")
    clock.advance(1)
    dropped = add("dropped")
    clock.advance(1)
    add("second")
    add("third")
    expiry.drop(dropped)
    for _ in range(60):
        clock.advance(1)
    assert reached == [("first", 30), ("second", 32), ("third", 32)]
    assert clock.getDelayedCalls() == []


def test_dropped_by_another() -> None:
    """A deadline that is dropped when another one is reached at the same moment is not reached."""
    clock = Clock()
    expiry = Expiry(clock, 5)
    reached: list[str] = []
    keys: list[int] = []
    expiry.add(lambda: expiry.drop(keys[0]))
    keys.append(expiry.add(lambda: reached.append("dropped")))
    clock.advance(5)
    assert reached == []


def test_added_when_reached() -> None:
    """A deadline that is added when another one is reached lies its whole time ahead."""
    clock = Clock()
    expiry = Expiry(clock, 5)
    reached: list[float] = []
    expiry.add(lambda: expiry.add(lambda: reached.append(clock.seconds())))
    clock.advance(5)
    clock.advance(5)
    assert reached == [10]


def test_stopped() -> None:
    """A stopped one reaches no deadline and leaves nothing with the clock; it can be used again."""
    clock, reached = Clock(), []
    expiry = Expiry(clock, 10)
    expiry.stop()
    expiry.add(lambda: reached.append("first"))
    expiry.stop()
    assert not clock.getDelayedCalls()
    expiry.add(lambda: reached.append("second"))
    clock.advance(10)
    assert reached == ["second"]


def test_a_fault() -> None:
    """One deadline that fails when it is reached puts off no other, nor those that come later."""
    clock = Clock()
    expiry = Expiry(clock, 5)
    reached: list[int] = []
    expiry.add(lambda: {}["missing"])
    expiry.add(lambda: reached.append(1))
    clock.advance(1)
    expiry.add(lambda: reached.append(2))
    clock.advance(4)
    clock.advance(1)
    assert reached == [1, 2]
