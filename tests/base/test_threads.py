"""Calls that block, and who waits for them."""

from __future__ import annotations

from threading import Event, current_thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from happy.base import threads
from happy.base.errors import Overloaded
from happy.base.threads import Threads


class Timed(Clock):
    """The reactor's threads with a clock that a test moves."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        reactor.callFromThread(call, *arguments)  # type: ignore[attr-defined]


class ThreadsTests(TestCase):
    """Real threads, one of which may be stuck."""

    def setUp(self) -> None:
        self.clock = Timed()
        self.threads = Threads(self.clock, 1, "tested")
        self.threads.start()
        self.answer = Event()
        self.addCleanup(self.threads.stop)
        self.addCleanup(self.answer.set)

    async def test_run(self) -> None:
        """A call is made elsewhere, and what it raises is the caller's."""
        self.assertNotEqual(await self.threads.run(current_thread), current_thread())
        with self.assertRaises(ZeroDivisionError):
            await self.threads.run(divmod, 1, 0)

    async def test_in_time(self) -> None:
        """What comes in time leaves no timer."""
        self.assertEqual(await self.threads.within(5, divmod, 7, 2), (3, 1))
        with self.assertRaises(ZeroDivisionError):
            await self.threads.within(5, divmod, 1, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_stuck(self) -> None:
        """Whoever waits for a stuck thread is told in time; what came too late is not done any more."""
        stuck = self.threads.within(10, self.answer.wait)
        done: list[int] = []
        late = self.threads.within(20, done.append, 1)
        self.clock.advance(10)
        self.failureResultOf(stuck, Overloaded)
        self.clock.advance(10)
        self.failureResultOf(late, Overloaded)
        self.answer.set()
        await self.threads.run(done.append, 2)
        self.assertEqual(done, [2])

    async def test_many(self) -> None:
        """Calls that are too many are refused, until others have ended."""
        self.patch(threads, "MOST_UNDER_WAY", 2)
        stuck = self.threads.run(self.answer.wait)
        waiting: Deferred[Any] = self.threads.within(5, divmod, 7, 2)
        self.failureResultOf(self.threads.run(divmod, 1, 1), Overloaded)
        self.failureResultOf(self.threads.within(5, divmod, 1, 1), Overloaded)
        self.answer.set()
        self.assertEqual((await stuck, await waiting), (True, (3, 1)))
        self.assertEqual(await self.threads.run(divmod, 1, 1), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OwnersTests(TestCase):
    """Two real threads, for several owners."""

    def setUp(self) -> None:
        self.threads = Threads(Timed(), 2, "tested")
        self.threads.start()
        self.answer = Event()
        self.addCleanup(self.threads.stop)
        self.addCleanup(self.answer.set)

    async def test_half(self) -> None:
        """Whoever asks for what takes long keeps half of the threads, however much more it asks for."""
        stuck = [self.threads.within_for("greedy", 9, self.answer.wait) for _ in range(5)]
        self.assertEqual(await self.threads.within_for("other", 9, divmod, 7, 2), (3, 1))
        self.assertNoResult(stuck[0])
        self.answer.set()
        self.assertEqual([await one for one in stuck], [True] * 5)

    async def test_the_last_thread(self) -> None:
        """Two who ask for what takes long leave a thread for whoever has none."""
        several = Threads(Timed(), 4, "tested")
        several.start()
        self.addCleanup(several.stop)
        self.addCleanup(self.answer.set)
        slow = [several.run_for(owner, self.answer.wait) for owner in "aabb"]
        self.assertEqual(await several.within_for("c", 9, divmod, 7, 2), (3, 1))
        self.assertNoResult(slow[0])
        self.answer.set()
        self.assertEqual([await one for one in slow], [True] * 4)

    async def test_many_who_are_slow(self) -> None:
        """What takes long makes room for those who have no thread, up to a bound, and gives it back."""
        self.patch(threads, "MOST_SLOW", 3)
        clock = Timed()
        several = Threads(clock, 2, "tested")
        several.start()
        self.addCleanup(several.stop)
        self.addCleanup(self.answer.set)
        slow = [several.run_for(owner, self.answer.wait) for owner in "aabcd"]
        other = several.within_for("e", 9, divmod, 7, 2)
        clock.advance(threads.SLOW / 2)
        self.assertNoResult(other)
        clock.advance(threads.SLOW / 2)
        clock.advance(threads.SLOW)
        self.assertEqual(await other, (3, 1))
        last = several.run_for("f", self.answer.wait)
        one_too_many = several.within_for("g", 9, divmod, 7, 2)
        clock.advance(threads.SLOW)
        self.assertNoResult(one_too_many)
        self.answer.set()
        self.assertEqual(await one_too_many, (3, 1))
        self.assertEqual([await one for one in [*slow, last]], [True] * 6)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_turns(self) -> None:
        """Owners are served in turn, each in the order in which it asked."""
        order: list[str] = []
        begin = Event()
        self.threads.run(self.answer.wait)
        self.threads.run(begin.wait)
        asked = [
            self.threads.within_for(owner, 9, order.append, f"{owner}{number}")
            for owner in "ab"
            for number in range(3)
        ]
        asked.append(self.threads.within_for("c", 9, order.append, "c"))
        begin.set()
        for one in asked:
            await one
        self.assertEqual(order, ["a0", "b0", "c", "a1", "b1", "a2", "b2"])

    async def test_room_for_others(self) -> None:
        """Whoever asks for more than half of what may wait is refused, and others are not."""
        self.patch(threads, "MOST_UNDER_WAY", 4)
        stuck = [self.threads.within_for("greedy", 9, self.answer.wait) for _ in range(2)]
        self.failureResultOf(self.threads.within_for("greedy", 9, divmod, 1, 1), Overloaded)
        self.assertEqual(await self.threads.within_for("other", 9, divmod, 7, 2), (3, 1))
        self.answer.set()
        self.assertEqual([await one for one in stuck], [True] * 2)
        self.assertEqual(await self.threads.within_for("greedy", 9, divmod, 7, 2), (3, 1))
