"""A feed: what comes in any order is told in order, once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.cluster import feed as limits
from happy.cluster.feed import Feed, Told
from happy.realtime.updates import Audience


def told(seq: int, text: bytes | None = b"x") -> Told:
    return Told(seq, Audience("ann"), text)


class TestFeed(SynchronousTestCase):
    """The feed of an account whose number was 4 when it began."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.heard: list[int] = []
        self.texts: list[bytes | None] = []
        self.asked = self.cuts = self.arrivals = 0
        self.feed = Feed("ann", self, self.clock)
        self.feed.join(4)

    def tell(self, told: Told) -> None:
        self.heard.append(told.seq)
        self.texts.append(told.payload)

    def ask(self, feed: Feed) -> None:
        self.asked += 1

    def arrived(self) -> None:
        self.arrivals += 1

    def cut(self, account: str) -> None:
        self.cuts += 1

    def offer(self, *seqs: int, local: bool = False) -> None:
        for seq in seqs:
            self.feed.offer(told(seq), local=local)

    def filled(
        self, seqs: Iterable[int], latest: int, *, since: int = 5, covered: int | None = None, known: Any = ()
    ) -> bool:
        covered = latest if covered is None else covered
        return self.feed.filled(since, map(told, seqs), covered, latest, known)

    def test_any_order(self) -> None:
        """Each waits for those before it."""
        self.offer(6, 8, 5, 5, 7, 6)
        self.assertEqual(self.heard, [5, 6, 7, 8])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.arrivals, 1)

    def test_a_number_that_does_not_come(self) -> None:
        """It is looked for after a while, again and again, as long as it is the same."""
        self.offer(6)
        self.clock.advance(limits.GAP_SECONDS)
        self.clock.advance(limits.GAP_SECONDS)
        self.assertEqual(self.asked, 2)
        self.offer(5, 8)
        self.clock.advance(limits.GAP_SECONDS)
        self.assertEqual(self.asked, 3)
        self.offer(7)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ones_own_number(self) -> None:
        """Somebody waits for it: what is before it is looked for at once, and so is what was told before."""
        self.offer(6, local=True)
        self.assertEqual(self.asked, 1)
        self.offer(4, local=True)
        self.assertEqual(self.asked, 2)

    def test_whoever_waits_for_a_number(self) -> None:
        """They go on when it was told, and not at all when it was before."""
        self.assertIsNone(self.feed.passed(4))
        self.offer(6)
        passed = self.feed.passed(6)
        assert passed is not None
        self.assertNoResult(passed)
        self.offer(5)
        self.successResultOf(passed)

    def test_filling(self) -> None:
        """What the log has is told, and what came meanwhile follows."""
        self.offer(8, 5)
        self.assertFalse(self.filled([5, 6, 7], 7))
        self.assertEqual((self.heard, self.cuts, self.arrivals), ([5, 6, 7, 8], 0, 0))

    def test_more_to_fill(self) -> None:
        """What was cut short is no gap."""
        self.assertTrue(self.filled([5, 6], 9, covered=6))
        self.assertEqual((self.feed.next, self.cuts), (7, 0))

    def test_a_gap_in_the_log(self) -> None:
        """Clients begin anew, and go on after what was committed."""
        self.offer(9)
        self.assertFalse(self.filled([5, 7], 8))
        self.assertEqual((self.heard, self.cuts, self.feed.next), ([5, 9], 1, 10))

    def test_nothing_in_the_log(self) -> None:
        """Whoever wrote that keeps none."""
        self.filled([], 5)
        self.assertEqual((self.heard, self.cuts, self.feed.next), ([], 1, 6))

    def test_what_was_told_meanwhile(self) -> None:
        """An old answer changes nothing."""
        self.offer(5, 6, 7)
        self.assertFalse(self.filled([5], 5))
        self.assertEqual((self.heard, self.cuts), ([5, 6, 7], 0))

    def test_the_database_went_back(self) -> None:
        """Clients begin anew, and numbers come once more; what waits may never have been."""
        self.offer(7)
        self.assertTrue(self.filled([], 2))
        self.assertEqual((self.cuts, self.feed.next), (1, 3))
        self.offer(3)
        self.assertEqual(self.heard, [3])

    def test_a_number_that_was_taken_twice(self) -> None:
        """The database went back unseen, and others have taken by now what was told: clients begin anew."""
        self.offer(5, 6, 7)
        self.offer(6)
        self.assertEqual(self.asked, 1)
        self.assertTrue(self.filled([8], 8, since=8))
        self.assertFalse(self.filled([], 8, since=9))
        self.assertEqual((self.heard, self.cuts, self.feed.next), ([5, 6, 7], 1, 9))

    def test_a_large_one_that_was_taken_twice(self) -> None:
        """It is noticed as well when only the number is said, but not if the log had it first."""
        self.filled([5], 5)
        self.feed.wake(5)
        self.assertEqual(self.asked, 0)
        self.offer(6, 7)
        self.feed.wake(6)
        self.assertEqual(self.asked, 1)
        self.assertTrue(self.filled([8], 8, since=8))
        self.assertEqual((self.cuts, self.feed.next), (1, 9))

    def test_told_by_the_log_first(self) -> None:
        """What the bus tells later is no news, and neither is what was there before the first client."""
        self.filled([5, 6], 6)
        self.offer(4, 5, 6, 7)
        self.assertEqual((self.heard, self.asked, self.cuts), ([5, 6, 7], 0, 0))

    def test_far_behind(self) -> None:
        """It is not all told."""
        self.filled([5], 5 + limits.MAX_BEHIND, covered=5)
        self.assertEqual((self.cuts, self.heard), (1, []))

    def test_a_message_that_is_gone(self) -> None:
        """Its number is passed over."""
        self.feed.offer(told(5, None))
        self.offer(6)
        self.assertEqual(self.heard, [6])

    def test_too_much_waits(self) -> None:
        """It is read from the log instead."""
        self.offer(*range(6, 7 + limits.MAX_WAITING))
        self.assertEqual((len(self.feed.waiting), self.asked), (limits.MAX_WAITING, 1))
        self.feed.offer(told(5000, b"x" * limits.MAX_WAITING_BYTES))
        self.assertEqual(self.asked, 2)
        latest = 6 + limits.MAX_WAITING
        self.assertTrue(self.filled(range(5, 300), latest, covered=299))
        self.assertFalse(self.filled([latest], latest, since=latest))
        self.assertEqual(self.heard, list(range(5, latest + 1)))

    def test_something_that_has_to_be_read(self) -> None:
        """It is, unless it was told."""
        self.feed.exists(4)
        self.assertEqual(self.asked, 0)
        self.feed.exists(5)
        self.assertEqual(self.asked, 1)

    def test_joining(self) -> None:
        """What was committed before one knows where to begin waits, and of that what is later is told."""
        self.feed = Feed("ann", self, self.clock)
        self.offer(3, 4, 5, 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.feed.exists(8)
        self.feed.join(4)
        self.assertEqual((self.heard, self.asked), ([5], 1))
        self.clock.advance(limits.GAP_SECONDS)
        self.assertEqual(self.asked, 2)

    def test_an_end(self) -> None:
        """Nobody waits any more, and no timer is left."""
        self.offer(6)
        passed: Deferred[None] | None = self.feed.passed(6)
        assert passed is not None
        self.feed.end()
        self.successResultOf(passed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_number_that_was_never_taken(self) -> None:
        """What waits for numbers that the database does not have is forgotten, unless it is newer."""
        self.offer(9, 10)
        self.assertFalse(self.filled([], 4, known=[9]))
        self.assertEqual(list(self.feed.waiting), [10])
        self.assertFalse(self.filled([], 4, known=[10]))
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])
        self.clock.advance(limits.GAP_SECONDS)
        asked = self.asked
        self.clock.advance(10 * limits.GAP_SECONDS)
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), (asked, []))

    def test_a_number_that_was_taken_again(self) -> None:
        """After a failover that lost updates the log is right, not what was said before it."""
        self.feed.offer(told(7, b"lost"))
        self.filled([5, 6, 7], 7)
        self.assertEqual((self.heard, self.texts), ([5, 6, 7], [b"x", b"x", b"x"]))

    def test_who_waits_no_longer(self) -> None:
        """Nothing is kept of whoever gave up waiting for a number."""
        passed = self.feed.passed(6)
        assert passed is not None
        passed.cancel()
        self.failureResultOf(passed, CancelledError)
        self.assertEqual(len(self.feed._watchers), 0)
        self.feed.offer(told(6))
