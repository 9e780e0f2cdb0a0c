"""Queues by key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from happy.storage.linearizer import Linearizer, Release


def acquire(linearizer: Linearizer, *keys: str) -> Deferred[Release]:
    """Start to wait for keys."""
    return Deferred.fromCoroutine(linearizer.acquire(keys))


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

    def test_cancelling_gives_back_what_was_taken(self) -> None:
        """A cancelled wait leaves neither a held key nor a place in a queue."""
        holder = self.successResultOf(acquire(self.linearizer, "b"))
        waiting = acquire(self.linearizer, "a", "b")
        self.assertTrue(self.linearizer.held("a"))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertFalse(self.linearizer.held("a"))
        holder()
        self.assertFalse(self.linearizer.held("b"))

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
