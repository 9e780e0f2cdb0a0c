"""Messages that wait for a batch."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from happy.base.bounds import CROWDED_OUT, OVER_SHARE
from happy.base.errors import Overloaded
from happy.realtime import batches
from happy.realtime.batches import Append, Release
from happy.realtime.message_queue import (
    LARGE_BYTES,
    MAX_BATCH_ROWS,
    MAX_QUEUED_BYTES,
    REFUSED_AT_ONCE,
    MessageQueue,
    weight,
)
from happy.storage.linearizer import Linearizer
from happy.storage.messages import IncomingMessage
from tests.socketio.peers import TurningClock

LARGE = "x" * (LARGE_BYTES + 1)


class BacklogTests(SynchronousTestCase):
    """Lines of some accounts."""

    def setUp(self) -> None:
        self.clock = TurningClock()
        self.linearizer = Linearizer()
        self.ready = 0
        self.refused: list[str] = []
        self.backlog = MessageQueue(self.clock, self.linearizer, self.wake, self.refused.append)

    def wake(self) -> None:
        self.ready += 1

    def append(self, account: str, content: str, rows: int = 1) -> Append:
        return Append(account, "s", [IncomingMessage(None, content)] * rows, None, 0.0)

    def add(self, account: str, *contents: str, rows: int = 1) -> list[Append]:
        appends = [self.append(account, content, rows) for content in contents]
        for append in appends:
            self.assertTrue(self.backlog.add(append))
        return appends

    def take(self) -> tuple[list[str], list[Release]]:
        appends, releases = self.backlog.take()
        return [append.rows[0].content for append in appends], releases

    def give_back(self, releases: list[Release]) -> None:
        for release in releases:
            release()

    def test_in_turn(self) -> None:
        """Accounts take turns, however much one has; each keeps its own order."""
        self.add("a", *[f"a{n}" for n in range(5)], rows=MAX_BATCH_ROWS // 4)
        self.add("b", "b0")
        self.add("c", "c0", "c1")
        contents, releases = self.take()
        self.assertEqual(contents, ["a0", "b0", "c0", "c1"])
        self.assertEqual(self.take()[0], [])
        self.give_back(releases)
        contents, releases = self.take()
        self.assertEqual(contents, ["a1", "a2", "a3", "a4"])
        self.assertEqual((self.backlog.rows, len(self.backlog)), (0, 0))

    def test_a_place_for_many(self) -> None:
        """However much each of many accounts has, one that comes after them is in the same batch."""
        for number in range(12):
            self.add(f"greedy {number}", *["g"] * 100)
        self.add("z", "z0")
        contents, _ = self.take()
        self.assertGreater(len(contents), MAX_BATCH_ROWS * 0.9)
        self.assertEqual(contents[-1], "z0")

    def test_newcomers(self) -> None:
        """Whoever had no turn for longest is in the next batch, though others fill one each and go on."""
        for number in range(4):
            self.add(f"greedy {number}", *["g"] * 9, rows=MAX_BATCH_ROWS // 2)
        for _ in range(3):
            self.give_back(self.take()[1])
        self.add("z", "z0")
        contents, releases = self.take()
        self.assertIn("z0", contents)
        self.give_back(releases)
        self.add("z", "z1")
        for _ in range(2):
            contents, releases = self.take()
            self.give_back(releases)
        self.assertIn("z1", contents)

    def test_a_full_batch(self) -> None:
        """A batch takes no more than fits, and who did not fit is first in the next."""
        for account in "abc":
            self.add(account, account, rows=MAX_BATCH_ROWS // 2)
        contents, _ = self.take()
        self.assertEqual(contents, ["a", "b"])
        self.assertEqual(self.take()[0], ["c"])

    def test_one_that_is_more_than_a_batch(self) -> None:
        """A request of more rows than a batch has makes one by itself."""
        self.add("a", "a", rows=2 * MAX_BATCH_ROWS)
        self.add("b", "b")
        self.assertEqual([self.take()[0], self.take()[0]], [["a"], ["b"]])

    def test_how_many_may_wait(self) -> None:
        """Half of what may wait is one account's: 5,000 short messages, or the largest request."""
        self.add("a", *["short"] * 4, rows=1_000)
        self.assertFalse(self.backlog.add(self.append("a", "short", 1_000)))
        self.add("b", "short", rows=1_000)
        self.assertLessEqual(weight(1_000, 100 * 1024 * 1024), MAX_QUEUED_BYTES // 2)
        self.assertEqual(self.refused, [OVER_SHARE])

    def test_accounts_that_others_hold(self) -> None:
        """An account that somebody holds stands aside until its turn; nothing else waits for it."""
        release = self.linearizer.try_acquire(["a"])
        assert release is not None
        self.add("a", "a0")
        self.add("b", "b0")
        self.assertEqual(self.take()[0], ["b0"])
        self.add("a", "a1")
        self.assertEqual((self.take()[0], self.ready), ([], 0))
        release()
        self.assertEqual(self.ready, 1)
        self.assertEqual(self.take()[0], ["a0", "a1"])
        self.assertTrue(self.linearizer.held("a"))

    def test_large_ones(self) -> None:
        """What is large is taken by itself, in its account's order; the others go on."""
        self.add("a", "a0", LARGE, "a1")
        self.add("b", LARGE)
        contents, releases = self.take()
        self.assertEqual(contents, ["a0"])
        taken = self.backlog.take_large()
        assert taken is not None
        self.assertEqual(taken[0].account, "b")
        self.assertIsNone(self.backlog.take_large())
        self.give_back(releases)
        self.assertEqual(self.take()[0], [])
        taken = self.backlog.take_large()
        assert taken is not None
        self.assertEqual(taken[0].account, "a")
        self.assertEqual(self.take()[0], [])
        taken[1]()
        self.assertEqual(self.take()[0], ["a1"])

    def test_half_for_one_account(self) -> None:
        """One account has half of the rows, or of the bytes; others still find room."""
        for content, rows in (("x", 1000), ("x" * (MAX_QUEUED_BYTES // 16), 1)):
            fits = MAX_QUEUED_BYTES // 2 // weight(rows, rows * (1 + len(content)))
            self.add("a", *[content] * fits, rows=rows)
            self.assertFalse(self.backlog.add(self.append("a", content, rows)))
            self.assertEqual(self.refused, [OVER_SHARE])
            self.add("b", content, rows=rows)
            self.setUp()

    def test_the_largest_account_makes_room(self) -> None:
        """When everything is full, whoever has most loses all of it, so that nothing is out of order."""
        self.patch(batches, "ROW_BYTES", MAX_QUEUED_BYTES // 10)
        answers = [append.answer for append in self.add("a", "1", "2", "3", "4")]
        self.add("b", "5", "6", "7")
        self.add("c", "8", "9")
        self.add("d", "10")
        self.assertEqual(self.refused, [CROWDED_OUT])
        self.assertFalse(any(answer.called for answer in answers))
        self.assertEqual(self.backlog.rows, 6)
        self.clock.advance(0)
        for answer in answers:
            self.failureResultOf(answer, Overloaded)
        self.add("a", "11")
        contents, _ = self.take()
        self.assertEqual(contents, ["5", "6", "7", "8", "9", "10", "11"])

    def test_crowded_out_while_it_waits(self) -> None:
        """An account that loses its place in line gives back what it is granted."""
        self.patch(batches, "ROW_BYTES", MAX_QUEUED_BYTES // 4 - 10)
        release = self.linearizer.try_acquire(["a"])
        assert release is not None
        lost = [append.answer for append in self.add("a", "1", "2")]
        self.assertEqual(self.take()[0], [])
        self.add("b", "3")
        self.add("c", "4")
        self.add("d", "5")
        release()
        self.assertFalse(self.linearizer.held("a"))
        self.clock.advance(0)
        for answer in lost:
            self.failureResultOf(answer, Overloaded)
        self.assertEqual(self.take()[0], ["3", "4", "5"])

    def test_many_are_crowded_out(self) -> None:
        """What many are told of being turned away, they are told in some turns."""
        self.patch(batches, "ROW_BYTES", MAX_QUEUED_BYTES // 1000)
        lost = self.add("a", *["x"] * 3 * REFUSED_AT_ONCE)
        for account in "bcd":
            self.add(account, *["y"] * 250)
        turned_away = []
        for append in lost:
            append.answer.addErrback(turned_away.append)
        told = []
        while self.clock.getDelayedCalls():
            self.clock.advance(0)
            told.append(len(turned_away))
        self.assertEqual(told, [REFUSED_AT_ONCE, 2 * REFUSED_AT_ONCE, 3 * REFUSED_AT_ONCE])

    def test_who_asks_for_too_much(self) -> None:
        """An account that asks beyond its share is refused, and the reason is counted."""
        self.patch(batches, "ROW_BYTES", MAX_QUEUED_BYTES // 2)
        self.assertFalse(self.backlog.add(self.append("a", "x")))
        self.assertEqual((self.refused, len(self.backlog)), ([OVER_SHARE], 0))

    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "large", "take", "give back", "hold"])),
            max_size=40,
        )
    )
    def test_nothing_is_lost_or_out_of_order(self, steps: list[tuple[str, str]]) -> None:
        """Whatever happens, everything that was added is taken once, in its account's order, while held."""
        self.setUp()
        added: dict[str, list[Append]] = {account: [] for account in "abc"}
        taken: dict[str, list[Append]] = {account: [] for account in "abc"}
        holding: list[Release] = []

        def take() -> bool:
            appends, releases = self.backlog.take()
            large: Any = self.backlog.take_large()
            if large is not None:
                appends, releases = [*appends, large[0]], [*releases, large[1]]
            for append in appends:
                self.assertTrue(self.linearizer.held(append.account))
                taken[append.account].append(append)
            holding.extend(releases)
            return bool(appends)

        for account, step in steps:
            if step in ("add", "large"):
                added[account] += self.add(account, LARGE if step == "large" else "x")
            elif step == "take":
                take()
            elif step == "give back" and holding:
                holding.pop(0)()
            elif step == "hold" and (release := self.linearizer.try_acquire([account])) is not None:
                holding.append(release)
            left = [append for one in "abc" for append in added[one][len(taken[one]) :]]
            self.assertCountEqual(list(self.backlog), left)
        while take() or holding:
            while holding:
                holding.pop()()
        self.assertEqual(taken, added)
        self.assertEqual((len(self.backlog), self.backlog.rows), (0, 0))
