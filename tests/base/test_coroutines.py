"""Coroutines without a Deferred of their own."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from happy.base.coroutines import Outcome, drive


class DriveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.outcomes: list[Any] = []

    def drive(self, work: Any) -> None:
        drive(work, self.outcomes.append, self.outcomes.append)

    def test_no_waiting(self) -> None:
        """Work that waits for nothing has ended when the call returns."""

        async def work() -> int:
            return 1 + await succeed(1)

        self.drive(work())
        self.assertEqual(self.outcomes, [2])

    def test_waiting(self) -> None:
        """Work goes on with each result it waits for, nested or not."""
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()

        async def inner() -> int:
            return await second

        async def work() -> int:
            return await first + await inner()

        self.drive(work())
        first.callback(1)
        self.assertEqual(self.outcomes, [])
        second.callback(2)
        self.assertEqual(self.outcomes, [3])

    def test_failure(self) -> None:
        """What the work raises, before or after waiting, is passed on."""
        gate: Deferred[None] = Deferred()

        async def work(wait: bool) -> None:
            if wait:
                await gate
            raise ValueError("no")

        self.drive(work(False))
        self.drive(work(True))
        gate.callback(None)
        self.assertEqual([type(outcome) for outcome in self.outcomes], [ValueError, ValueError])

    def test_awaited_failure(self) -> None:
        """A failed Deferred raises inside of the work, which may handle it; nothing is logged as lost."""
        gate: Deferred[None] = Deferred()

        async def work() -> str:
            try:
                await gate
            except ValueError:
                return "handled"
            return "not raised"

        self.drive(work())
        gate.errback(ValueError("no"))
        self.assertEqual(self.outcomes, ["handled"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_paused(self) -> None:
        """A Deferred that waits for another one has no result yet."""
        outer: Deferred[int] = Deferred()
        inner: Deferred[int] = Deferred()
        outer.addCallback(lambda _: inner)

        async def work() -> int:
            return await outer

        self.drive(work())
        outer.callback(0)
        self.assertEqual(self.outcomes, [])
        inner.callback(7)
        self.assertEqual(self.outcomes, [7])

    def test_long_waits(self) -> None:
        """Any number of waits, one after another, needs no deep stack."""
        gates: list[Deferred[None]] = [Deferred() for _ in range(3000)]

        async def work() -> int:
            for gate in gates:
                await gate
            return len(gates)

        self.drive(work())
        for gate in gates:
            gate.callback(None)
        self.assertEqual(self.outcomes, [3000])

    def test_outcome(self) -> None:
        """Work goes on with an outcome, whether it comes before or after the waiting began."""
        late: Outcome[int] = Outcome()
        early: Outcome[int] = Outcome()
        early.settle(1)

        async def work() -> int:
            return await early + await late

        self.drive(work())
        self.assertEqual(self.outcomes, [])
        late.settle(2)
        self.assertEqual(self.outcomes, [3])

    def test_failed_outcome(self) -> None:
        """A failure is raised where it is waited for, and is dealt with thereby."""
        outcome: Outcome[int] = Outcome()

        async def work() -> str:
            try:
                await outcome
            except ValueError as error:
                return str(error)
            return "none"

        self.drive(work())
        outcome.settle(Failure(ValueError("no")))
        self.assertEqual(self.outcomes, ["no"])

    def test_outcome_for_others(self) -> None:
        """Whoever else waits hears of results and failures as of any Deferred."""
        first: Outcome[int] = Outcome()
        second: Outcome[int] = Outcome()
        first.settle(1)
        second.settle(Failure(ValueError("no")))
        self.assertEqual(self.successResultOf(first), 1)
        self.failureResultOf(second, ValueError)

    def test_failures_are_freed(self) -> None:
        """Work that fails leaves nothing for Python's collector: tracebacks hold all that the work held."""
        gate: Deferred[None] = Deferred()
        held = Held()
        left = weakref.ref(held)

        async def work(held: Held) -> None:
            await gate

        gc.disable()
        self.addCleanup(gc.enable)
        self.drive(work(held))
        del held
        gate.errback(ValueError("no"))
        self.assertIsInstance(self.outcomes.pop(), ValueError)
        self.assertIsNone(left())


class Held:
    """Something large."""
