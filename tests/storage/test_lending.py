"""How connections are shared among owners."""

from __future__ import annotations

from traceback import walk_stack
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import Overloaded
from happy.storage.calls import SERVER, WAITED, WAITING_SHARE, Call
from happy.storage.lending import ConnectionPlaces, Pool


class _Lent:
    """A connection in good order."""

    swollen = False

    def pollable(self) -> Any:
        """Stands for the driver's connection."""
        return SimpleNamespace(closed=0, get_transaction_status=lambda: TRANSACTION_STATUS_IDLE)


class PoolTests(SynchronousTestCase):
    def test_who_had_it_longer_comes_later(self) -> None:
        """What counts of a call is how long it had its connection, and not how long it waited for it."""
        clock, served = Clock(), list[str]()

        async def open_(seconds: float) -> Any:
            return _Lent()

        async def use(pool: Pool, owner: str) -> None:
            call = Call(clock, owner, 100.0, lambda why: None)
            connection = await pool.borrow(call)
            served.append(owner)
            await deferLater(clock, 0.1 if owner == "slow" else 0.02)
            pool.give_back(connection, call)

        pool = Pool(open_, 1)
        for owner in ("slow", "brief", "slow", "brief", "brief", "brief"):
            self.assertNoResult(Deferred.fromCoroutine(use(pool, owner)))
        for _ in range(100):
            clock.advance(0.01)
        self.assertEqual(served, ["slow", "brief", "brief", "brief", "brief", "slow"])


class PlacesTests(SynchronousTestCase):
    """Eight places, as a server has them by default."""

    def setUp(self) -> None:
        self.places = ConnectionPlaces(8)
        self.served: list[str] = []

    def fill(self, *owners: str) -> None:
        for owner in owners:
            self.assertTrue(self.places.try_take(owner))

    def ask(self, *owners: str) -> list[Deferred[None]]:
        """Wait for places; who gets one is noted."""
        waits = [self.places.take(owner) for owner in owners]
        for owner, wait in zip(owners, waits, strict=True):
            wait.addCallback(lambda _, owner=owner: self.served.append(owner))
        return waits

    def test_half_for_one_owner(self) -> None:
        """One owner gets four of eight; another still finds room, and so does the server."""
        self.fill("a", "a", "a", "a")
        self.assertFalse(self.places.try_take("a"))
        self.fill("b", "b", "b", SERVER)
        self.assertEqual(self.places.free, 0)

    def test_one_is_left_for_the_server(self) -> None:
        """All clients together leave one place; where there are two or less, they may have them."""
        self.fill("a", "a", "a", "b", "b", "b", "c")
        self.assertFalse(self.places.try_take("d"))
        self.assertTrue(self.places.try_take(SERVER))
        for size in (1, 2):
            places = ConnectionPlaces(size)
            self.assertEqual([places.try_take(str(n)) for n in range(3)], [n < size for n in range(3)])

    def test_in_turn(self) -> None:
        """Owners are served in turn, however many calls of another wait before theirs."""
        self.fill("x", "x", "x", "y", "y", "y", "z")
        self.ask("a", "a", "a", "b", "b", "c")
        for owner in ("x", "y", "x", "y", "z", "y"):
            self.places.give_back(owner)
        self.assertEqual(self.served, ["a", "b", "c", "a", "b", "a"])
        self.assertEqual(self.places.waiting, 0)

    def test_by_time(self) -> None:
        """Who had a connection for long comes after who had one for a moment, as often as that makes even."""
        self.fill("x", "x", "x", "y", "y", "y", "a")
        self.ask("b", "a", "b", "a", "b", "a")
        self.places.give_back("a", 0.02)
        self.assertEqual(self.served, ["b"])
        for seconds in (0.001, 0.001, 0.001):
            self.places.give_back("b", seconds)
        self.assertEqual(self.served, ["b", "b", "b", "a"])

    def test_unused(self) -> None:
        """A place that was given back without a connection costs its owner no turn."""
        self.fill("x", "x", "x", "y", "y", "y", "a")
        self.ask("b", "a", "b", "a")
        self.places.give_back("a")
        self.places.give_back("b", 0.001)
        self.assertEqual(self.served, ["b", "a"])

    def test_who_has_its_share_is_passed_over(self) -> None:
        """Whoever holds half of all waits for itself, and nobody waits behind it."""
        self.fill("a", "a", "a", "a", "b", "b", "b")
        self.ask("a", "c")
        self.places.give_back("b")
        self.assertEqual(self.served, ["c"])
        self.places.give_back("a")
        self.assertEqual(self.served, ["c", "a"])

    def test_the_server_comes_first(self) -> None:
        """What the server does by itself does not wait for clients."""
        self.fill("a", "a", "a", "b", "b", "b", "c", SERVER)
        self.ask("c", SERVER)
        self.places.give_back("a")
        self.places.give_back("a")
        self.assertEqual(self.served, [SERVER, "c"])

    def test_newcomers_do_not_overtake(self) -> None:
        """Who comes while others of the same owner wait goes behind them."""
        self.fill("a", "a", "a", "a")
        self.ask("a")
        self.assertFalse(self.places.try_take("a"))

    def test_going_away(self) -> None:
        """A wait that is cancelled leaves no trace."""
        self.fill("a", "a", "a", "a")
        [wait] = self.ask("a")
        wait.cancel()
        self.failureResultOf(wait, CancelledError)
        self.assertEqual(self.places.waiting, 0)
        self.places.give_back("a")
        self.assertTrue(self.places.try_take("a"))

    @given(st.integers(1, 9), st.lists(st.tuples(st.sampled_from(["", *"abc"]), st.booleans()), max_size=60))
    def test_never_too_many_and_everyone_has_a_turn(self, size: int, steps: list[tuple[str, bool]]) -> None:
        """Whatever is asked for and given back, nobody has more than its share, and nobody waits in vain."""
        places, holding, waits = ConnectionPlaces(size), list[str](), list[Deferred[None]]()
        for owner, more in steps:
            if more:
                wait = places.take(owner).addCallback(lambda _, owner=owner: holding.append(owner))
                waits.append(wait)
            elif holding:
                places.give_back(holding.pop(0))
            self.assertEqual(places.free, size - len(holding))
            self.assertGreaterEqual(places.free, 0)
            for each in "abc":
                self.assertLessEqual(holding.count(each), max(1, size // 2))
        while holding:
            places.give_back(holding.pop())
        self.assertTrue(all(wait.called for wait in waits))

    def test_no_recursion(self) -> None:
        """A thousand who wait and give back at once are served, and not within each other."""
        self.fill("a", "a", "a", "a")
        depths: list[int] = []
        for _ in range(1_000):
            waiting = self.places.take("a")
            waiting.addCallback(
                lambda _: (depths.append(sum(1 for _ in walk_stack(None))), self.places.give_back("a"))
            )
        self.places.give_back("a")
        self.assertEqual((len(depths), len(set(depths))), (1_000, 1))
        self.assertEqual(self.places.free, 5)

    def test_cancelled_when_its_turn_has_come(self) -> None:
        """Who gives up between having a place and hearing of it has it no more; the next one has."""
        self.fill("a", "a", "a", "a")
        first, second, third = (self.places.take("a") for _ in range(3))

        def go_on(_: None) -> None:
            self.places.give_back("a")
            self.assertNoResult(second)
            second.cancel()
            self.failureResultOf(second, CancelledError)

        first.addCallback(go_on)
        self.places.give_back("a")
        self.successResultOf(third)
        self.assertEqual(self.places.free, 4)


class CallTests(SynchronousTestCase):
    """Calls that wait."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refused: list[str] = []
        self.call = Call(self.clock, "a", 10.0 / WAITING_SHARE, self.refused.append)

    def wait(self, turn: Deferred[str]) -> Deferred[str]:
        return Deferred.fromCoroutine(self.call.wait(turn))

    def test_a_turn(self) -> None:
        """A turn that comes is had, and no timer stays behind."""
        turn: Deferred[str] = Deferred()
        waiting = self.wait(turn)
        turn.callback("mine")
        self.assertEqual(self.successResultOf(waiting), "mine")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_deadline_is_for_all_waits_together(self) -> None:
        """Time spent on one wait is missing for the next."""
        first: Deferred[str] = Deferred()
        self.wait(first)
        self.clock.advance(6)
        first.callback("mine")
        waiting = self.wait(Deferred())
        self.clock.advance(3.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.failureResultOf(waiting, Overloaded)
        self.assertEqual(self.refused, [WAITED])

    def test_a_lost_place(self) -> None:
        """Who loses its place stops waiting, in a turn of its own, and waits for nothing more."""
        waiting = self.wait(Deferred())
        self.call.give_up()
        self.assertNoResult(waiting)
        self.clock.advance(0)
        self.failureResultOf(waiting, Overloaded)
        self.failureResultOf(self.wait(Deferred()), Overloaded)
        self.assertEqual(self.refused, [])
