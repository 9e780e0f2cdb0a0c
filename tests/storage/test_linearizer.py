"""Queues by key."""

from __future__ import annotations

from collections.abc import Iterable
from traceback import walk_stack

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import Overloaded
from happy.storage.linearizer import MOST_WAITING, REMEMBERED, Linearizer, Release, _Lately
from tests.storage.working import start


def acquire(linearizer: Linearizer, *keys: str) -> Deferred[Release]:
    """Start to wait for keys."""
    return start(linearizer.acquire(keys))


class LinearizerTests(SynchronousTestCase):
    """One holder for each key, first come first served."""

    def setUp(self) -> None:
        self.linearizer = Linearizer()

    def test_free_keys_are_had_at_once(self) -> None:
        """Nobody waits for keys that nobody holds, and giving them back frees them."""
        release = self.successResultOf(acquire(self.linearizer, "a", "b"))
        self.assertTrue(self.linearizer.held("a"))
        release()
        self.assertFalse(self.linearizer.held("a"))
        self.assertFalse(self.linearizer.held("b"))

    def test_first_come_first_served(self) -> None:
        """Waiters for a key get it in the order they asked."""
        first = self.successResultOf(acquire(self.linearizer, "a"))
        second, third = acquire(self.linearizer, "a"), acquire(self.linearizer, "a")
        self.assertNoResult(second)
        first()
        release = self.successResultOf(second)
        self.assertNoResult(third)
        release()
        self.successResultOf(third)

    def test_a_second_release_does_nothing(self) -> None:
        """Releasing twice does not take the key from its next holder."""
        first = self.successResultOf(acquire(self.linearizer, "a"))
        second, third = acquire(self.linearizer, "a"), acquire(self.linearizer, "a")
        first()
        first()
        self.successResultOf(second)
        self.assertNoResult(third)

    def test_try_acquire_takes_all_or_none(self) -> None:
        """A set of keys of which one is held is not taken in part."""
        release = self.linearizer.try_acquire(["b"])
        assert release is not None
        self.assertIsNone(self.linearizer.try_acquire(["a", "b"]))
        self.assertFalse(self.linearizer.held("a"))
        release()
        self.assertIsNotNone(self.linearizer.try_acquire(["a", "b"]))

    def test_nothing_is_held_by_who_waits(self) -> None:
        """Who waits for one of several keys keeps nobody from the others, and may give up."""
        holder = self.successResultOf(acquire(self.linearizer, "b"))
        waiting = acquire(self.linearizer, "a", "b")
        self.assertFalse(self.linearizer.held("a"))
        other = self.successResultOf(acquire(self.linearizer, "a"))
        holder()
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        other()
        self.assertFalse(self.linearizer.held("a") or self.linearizer.held("b"))

    def test_others_take_turns_with_the_owner(self) -> None:
        """Between two of the owner's own there is one of somebody else's, however many those are."""
        turns: list[str] = []
        release = self.successResultOf(acquire(self.linearizer, "victim"))
        releases = []
        for number in range(5):
            for name, keys in ((f"other {number}", ("victim", f"{number}")), (f"own {number}", ("victim",))):

                def granted(release: Release, name: str = name) -> None:
                    turns.append(name)
                    releases.append(release)

                acquire(self.linearizer, *keys).addCallback(granted)
        release()
        while releases:
            releases.pop()()
        self.assertEqual(turns[:4], ["own 0", "other 0", "own 1", "other 1"])
        self.assertEqual(len(turns), 10)

    def test_others_who_wait_are_few(self) -> None:
        """Only so many may wait for several keys of which one is the same; its owner always may."""
        self.successResultOf(acquire(self.linearizer, "victim"))
        waits = [acquire(self.linearizer, "victim", str(number)) for number in range(MOST_WAITING)]
        self.failureResultOf(acquire(self.linearizer, "victim", "x"), Overloaded)
        self.assertNoResult(acquire(self.linearizer, "victim"))
        waits[0].addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self.assertNoResult(acquire(self.linearizer, "victim", "x"))

    def test_own_turns_do_not_count(self) -> None:
        """Who waited for its own account alone has had no turn at somebody else's."""
        held = self.successResultOf(acquire(self.linearizer, "a"))
        own = self.linearizer.wait(["a"], "a")
        held()
        self.successResultOf(own)()
        held = self.successResultOf(acquire(self.linearizer, "victim"))
        first = self.linearizer.wait(["victim", "a"], "a")
        second = self.linearizer.wait(["victim", "b"], "b")
        held()
        release = self.successResultOf(first)
        self.assertNoResult(second)
        release()
        self.successResultOf(second)()

    def test_the_owner_is_not_one_too_many(self) -> None:
        """However many others wait for a key, its owner may wait for that and more, and comes before them."""
        release = self.successResultOf(acquire(self.linearizer, "victim"))
        for number in range(MOST_WAITING):
            acquire(self.linearizer, "victim", str(number))
        self.failureResultOf(start(self.linearizer.acquire(["victim", "x"], "x")), Overloaded)
        own = start(self.linearizer.acquire(["victim", "x"], "victim"))
        release()
        self.successResultOf(own)

    def test_who_had_most_turns_comes_last(self) -> None:
        """Of those who act on somebody else's account, who had turns comes last, and gives way."""
        release = self.successResultOf(acquire(self.linearizer, "victim"))
        waits = self.crowd(range(MOST_WAITING))
        release()
        for wait in waits[: MOST_WAITING // 2]:
            self.successResultOf(wait)()
        release = self.successResultOf(waits[MOST_WAITING // 2])
        again = self.crowd(range(MOST_WAITING // 2 + 1))
        newcomer = start(self.linearizer.acquire(["victim", "new"], "new"))
        self.failureResultOf(again[-1], Overloaded)
        self.failureResultOf(self.crowd([0])[0], Overloaded)
        release()
        for wait in [*waits[MOST_WAITING // 2 + 1 :], newcomer, *again[:-1]]:
            self.successResultOf(wait)()

    def crowd(self, numbers: Iterable[int]) -> list[Deferred[Release]]:
        """Waits of so many owners for the victim's key and their own."""
        acquired = self.linearizer.acquire
        return [start(acquired(["victim", str(number)], str(number))) for number in numbers]

    def test_turns_are_forgotten(self) -> None:
        """Of turns long ago it is not known whose they were."""
        lately = _Lately()
        lately.note("a")
        for number in range(2 * REMEMBERED - 1):
            self.assertEqual(lately.of("a"), 1)
            lately.note(str(number))
        lately.note("b")
        self.assertEqual((lately.of("a"), lately.of("b")), (0, 1))

    def test_given_back_in_parts(self) -> None:
        """A key that is given back before the others is free, and is not taken from its next holder later."""
        release = self.successResultOf(acquire(self.linearizer, "a", "b"))
        waiting = acquire(self.linearizer, "a")
        release.part("a")
        self.successResultOf(waiting)
        self.assertTrue(self.linearizer.held("b"))
        release.part("a")
        release()
        self.assertTrue(self.linearizer.held("a"))
        self.assertFalse(self.linearizer.held("b"))

    def test_no_recursion(self) -> None:
        """A thousand who wait and give back at once are served in order, and not within each other."""
        depths: list[int] = []
        release = self.successResultOf(acquire(self.linearizer, "a"))
        for _ in range(1_000):
            waiting = acquire(self.linearizer, "a")
            waiting.addCallback(lambda release: (depths.append(sum(1 for _ in walk_stack(None))), release()))
        release()
        self.assertEqual(len(depths), 1_000)
        self.assertEqual(len(set(depths)), 1)
        self.assertFalse(self.linearizer.held("a"))

    def test_cancelled_when_its_turn_has_come(self) -> None:
        """Who gives up between having a key and hearing of it has it no more; the next one has."""
        release = self.successResultOf(acquire(self.linearizer, "a"))
        first, second, third = (acquire(self.linearizer, "a") for _ in range(3))

        def go_on(release: Release) -> None:
            release()
            self.assertTrue(self.linearizer.held("a"))
            self.assertNoResult(second)
            second.cancel()
            self.failureResultOf(second, CancelledError)

        first.addCallback(go_on)
        release()
        self.successResultOf(first)
        self.successResultOf(third)()
        self.assertFalse(self.linearizer.held("a"))

    @given(st.lists(st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.booleans()), max_size=30))
    def test_never_two_holders_and_everyone_has_a_turn(self, wishes: list[tuple[set[str], bool]]) -> None:
        """Whatever is asked for and cancelled, no key has two holders and every wait comes to an end."""
        linearizer = Linearizer()
        holding: list[tuple[set[str], Release]] = []
        waits: list[Deferred[None]] = []
        for keys, cancelled in wishes:
            wait = acquire(linearizer, *keys).addCallback(
                lambda release, keys=keys: holding.append((keys, release))
            )
            if cancelled:
                wait.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
            waits.append(wait)
            held = [key for keys, _ in holding for key in keys]
            self.assertEqual(len(held), len(set(held)))
        while holding:
            keys, release = holding.pop()
            release()
            held = [key for keys, _ in holding for key in keys]
            self.assertEqual(len(held), len(set(held)))
        self.assertTrue(all(wait.called for wait in waits))
        self.assertFalse(any(linearizer.held(key) for key in "abcd"))
        self.assertFalse(linearizer._alone or linearizer._several or linearizer._others_turn)
