"""Feeds of several nodes, against what clients are promised, whatever the bus loses and whoever dies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.world import World, explore, find_fault


class Forgetful(World):
    """A world in which nobody compares numbers."""

    catches_up = False


class TestFeeds(SynchronousTestCase):
    """What clients of three nodes hear of one account."""

    def test_nothing_is_lost_or_reordered(self) -> None:
        """Whatever happens."""
        explore(World)

    def test_the_model_can_fail(self) -> None:
        """Without catching up, updates are lost."""
        with self.assertRaises(AssertionError):
            find_fault(Forgetful)
