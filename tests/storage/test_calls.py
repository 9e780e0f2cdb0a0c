"""One call of the database, on a clock that the test moves."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from happy.base.bounds import CROWDED_OUT, Budget
from happy.base.errors import Overloaded
from happy.storage.calls import Call


def test_time_that_is_left() -> None:
    """It becomes less, and never less than nothing; nobody waits for a turn until there is none."""
    clock = Clock()
    call = Call(clock, "somebody", 10.0, lambda why: None)
    clock.advance(4.0)
    assert (call.left, call.may_wait) == (6.0, True)
    clock.advance(7.0)
    assert (call.left, call.may_wait) == (0.0, False)


def test_its_place() -> None:
    """What it holds of the bound is free when it is over; one that holds nothing ends as well."""
    budget, call = Budget(10), Call(Clock(), "somebody", 10.0, lambda why: None)
    call.end()
    call.place = budget.open(call.owner, call)
    assert call.place.take(1)
    call.end()
    assert budget.used == 0


def test_a_turn_that_is_refused() -> None:
    """Who has to give way while it waits is told so, and counted; no timer is left."""
    clock, refused, outcome = Clock(), list[str](), list[Exception]()
    call = Call(clock, "somebody", 10.0, refused.append)
    turn: Deferred[None] = Deferred()
    waiting = Deferred.fromCoroutine(call.wait(turn))
    waiting.addErrback(lambda failure: outcome.append(failure.value))
    turn.errback(Overloaded("others come first"))
    assert isinstance(outcome[0], Overloaded)
    assert (refused, clock.getDelayedCalls()) == ([CROWDED_OUT], [])
