"""Waiting that has an end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import Clock

from happy.base.waiting import within


class World:
    """``awaited`` is waited for five seconds; ``outcomes`` are what came of it."""

    def __init__(self, awaited: Deferred[Any]) -> None:
        self.clock = Clock()
        self.outcomes: list[Any] = []
        self.waiting = within(5, awaited, self.clock)
        self.waiting.addCallbacks(self.outcomes.append, lambda failure: self.outcomes.append(failure.type))


def test_in_time() -> None:
    """What comes in time is the outcome, a failure too, and nothing is left to fire."""
    for outcome in ("answer", ValueError):
        awaited: Deferred[Any] = Deferred()
        world = World(awaited)
        world.clock.advance(4)
        awaited.callback(outcome) if outcome == "answer" else awaited.errback(ValueError())
        assert world.outcomes == [outcome]
        assert world.clock.getDelayedCalls() == []


def test_already_there() -> None:
    """What is there already is not waited for."""
    awaited: Deferred[Any] = Deferred()
    awaited.callback("answer")
    world = World(awaited)
    assert (world.outcomes, world.clock.getDelayedCalls()) == (["answer"], [])


def unwilling(deferred: Deferred[Any]) -> None:
    """Refuses to be cancelled, as statements of txpostgres do."""
    raise RuntimeError


@pytest.mark.parametrize("canceller", [None, unwilling])
def test_too_late(canceller: Any) -> None:
    """The wait ends in time, whatever a cancellation does; what still comes is dropped."""
    awaited: Deferred[Any] = Deferred(canceller)
    world = World(awaited)
    world.clock.advance(5)
    assert world.outcomes == [TimeoutError]
    if not awaited.called:
        awaited.errback(ValueError())
    assert world.outcomes == [TimeoutError]


def test_a_coroutine_that_goes_on() -> None:
    """Work that does not end with its cancellation is left behind."""
    never: Deferred[None] = Deferred()

    async def stubborn() -> None:
        try:
            await Deferred()
        except CancelledError:
            await never

    world = World(Deferred.fromCoroutine(stubborn()))
    world.clock.advance(5)
    assert world.outcomes == [TimeoutError]


def test_cancelled() -> None:
    """Whoever waits may stop waiting; the work is cancelled, and no timer stays."""
    awaited: Deferred[Any] = Deferred()
    world = World(awaited)
    world.waiting.cancel()
    assert world.outcomes == [CancelledError]
    assert awaited.called
    assert world.clock.getDelayedCalls() == []
