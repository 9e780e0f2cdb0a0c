"""The hourly round, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.service.housekeeping import HOUR, MINUTE, Housekeeping


class Database:
    """Counts transactions; the first ``failures`` of them fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.transactions = 0
        self.reads = 0

    async def transact(self, work: Any) -> int:
        self.transactions += 1
        if self.transactions <= self.failures:
            raise OSError
        return 0

    async def read(self, work: Any) -> list[str]:
        self.reads += 1
        return []


class Store:
    """Counts sweeps."""

    sweeps = 0

    async def sweep(self, existing: Callable[[Sequence[str]], Awaitable[Collection[str]]]) -> int:
        self.sweeps += 1
        return 0


class HousekeepingTests(SynchronousTestCase):
    """When what is cleaned up."""

    def begin(self, failures: int = 0) -> Housekeeping:
        self.clock, self.database, self.store = Clock(), Database(failures), Store()
        parts: Any = SimpleNamespace(clock=self.clock, database=self.database, objects=self.store)
        housekeeping = Housekeeping(parts)
        housekeeping.start()
        return housekeeping

    def done(self) -> tuple[int, int]:
        return self.database.transactions, self.store.sweeps

    def test_another_node(self) -> None:
        """Of several nodes one does it; of those with files of their own each looks after these."""
        housekeeping = self.begin()
        housekeeping._is_first = lambda *, of_files=False: of_files
        self.clock.pump([HOUR])
        self.assertEqual(self.done(), (0, 1))
        housekeeping._is_first = lambda *, of_files=False: False
        self.clock.pump([HOUR])
        self.assertEqual(self.done(), (0, 1))
        housekeeping.stop()

    def test_every_hour(self) -> None:
        """Nothing happens at the start; every hour both kinds of leftovers are looked at, until the stop."""
        housekeeping = self.begin()
        self.assertEqual(self.done(), (0, 0))
        self.clock.pump([HOUR, HOUR])
        self.assertEqual(self.done(), (2, 2))
        reads = self.database.reads
        self.clock.pump([MINUTE, MINUTE])
        self.assertEqual((self.done(), self.database.reads), ((2, 2), reads + 2))
        housekeeping.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures(self) -> None:
        """A job that fails is logged, and keeps neither the next job nor the next hour from coming."""
        lines: list[str] = []
        observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.begin(failures=1)
        self.clock.pump([HOUR, HOUR])
        self.assertEqual(self.done(), (2, 2))
        self.assertTrue(lines[0].startswith("cleaning up pairing requests failed: OSError"))

    def test_a_job_without_an_end(self) -> None:
        """A job whose answer never comes keeps the other one from nothing, and is begun again."""
        never: Deferred[int] = Deferred()
        self.begin()
        self.database.transact = lambda work: never  # type: ignore[method-assign, assignment, misc]
        self.clock.pump([HOUR, HOUR])
        self.assertEqual(self.done(), (0, 2))
        self.assertTrue(never.called)
        del self.database.transact
        self.clock.advance(HOUR)
        self.assertEqual(self.done(), (1, 3))
