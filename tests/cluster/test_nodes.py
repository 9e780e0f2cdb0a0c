"""Who is alive, by beats."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.cluster.nodes import BEAT_SECONDS, DEAD_SECONDS, DEAF_SECONDS, LATE_SECONDS, Nodes
from happy.cluster.wire import Beat


class TestNodes(SynchronousTestCase):
    """What "me" makes of beats of "other"; whoever is in ``silent`` says nothing."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.connected = True
        self.nodes = Nodes("me", self, self.clock.seconds)
        self.silent: set[str] = set()
        self.nodes.back()
        self.beat("other")
        self.assertEqual(self.told, ["new other"])
        self.told.clear()

    def suspect(self, node: str) -> None:
        self.told.append(f"suspect {node}")
        if not self.connected:
            self.nodes.lost(node)

    def appeared(self, node: str, *, again: bool) -> None:
        self.told.append(f"{'again' if again else 'new'} {node}")

    def died(self, node: str, *, silent: bool) -> None:
        self.told.append(f"{'dead' if silent else 'gone'} {node}")

    def returned(self, node: str) -> None:
        self.told.append(f"returned {node}")

    def deaf(self) -> None:
        self.told.append("deaf")

    def beat(self, node: str) -> None:
        self.nodes.heard(Beat(node, "", 1))

    def live(self, seconds: float) -> None:
        """Time passes, with beats."""
        for _ in range(round(seconds / BEAT_SECONDS)):
            self.clock.advance(BEAT_SECONDS)
            for node in {"me", "other"} - self.silent:
                self.beat(node)
            self.nodes.tick()

    def test_everybody_is_fine(self) -> None:
        """Nothing is said."""
        self.live(60)
        self.assertEqual(self.told, [])

    def test_a_killed_node(self) -> None:
        """Its connection is gone: that is known in less than a second."""
        self.connected = False
        self.silent = {"other"}
        self.live(0.75)
        self.assertEqual(self.told, ["suspect other", "dead other"])
        self.assertEqual(self.nodes.known, {})

    def test_a_frozen_node(self) -> None:
        """Its connection is there: it is dead after some seconds."""
        self.silent = {"other"}
        self.live(DEAD_SECONDS - BEAT_SECONDS)
        self.assertEqual(set(self.told), {"suspect other"})
        self.live(BEAT_SECONDS)
        self.assertEqual(self.told[-1], "dead other")
        self.silent = set()
        self.live(BEAT_SECONDS)
        self.assertEqual(self.told[-1], "again other")

    def test_a_node_that_answers_after_all(self) -> None:
        """What was asked about it before does not count any more."""
        self.silent = {"other"}
        self.live(0.75)
        self.silent = set()
        self.live(BEAT_SECONDS)
        self.nodes.lost("other")
        self.assertIn("other", self.nodes.known)

    def test_a_node_that_leaves(self) -> None:
        """It says so, and is not suspected of anything."""
        self.nodes.left("other")
        self.nodes.left("other")
        self.silent = {"other"}
        self.live(10)
        self.assertEqual(self.told, ["gone other"])

    def test_a_node_that_was_cut_off(self) -> None:
        """It says that its way to the others is a new one; of one that does not count, nothing is known."""
        for era in (0, 1, 1, 2, 2, 4):
            self.nodes.heard(Beat("other", "", 1, era=era))
        self.assertEqual(self.told, ["returned other", "returned other"])

    def test_late(self) -> None:
        """Who does not hear itself hears others late: that is known before the connection is given up."""
        self.silent = {"me"}
        self.live(BEAT_SECONDS)
        self.assertFalse(self.nodes.late)
        self.live(LATE_SECONDS)
        self.assertTrue(self.nodes.late)
        self.nodes.gone()
        self.assertFalse(self.nodes.late)

    def test_not_hearing_oneself(self) -> None:
        """One connects anew, and takes nobody for dead."""
        self.silent = {"me", "other"}
        self.live(DEAF_SECONDS)
        self.assertEqual(self.told[-1], "deaf")
        self.assertNotIn("dead other", self.told)

    def test_standing_still(self) -> None:
        """Others were not heard meanwhile, which says nothing about them."""
        self.clock.advance(60)
        self.nodes.tick()
        self.assertEqual(self.told, ["deaf"])
        self.live(1)
        self.assertEqual(self.told, ["deaf"])

    def test_without_a_connection(self) -> None:
        """Silence means nothing; when it is back, it begins anew."""
        self.nodes.gone()
        self.silent = {"me", "other"}
        self.live(60)
        self.nodes.back()
        self.silent = set()
        self.live(1)
        self.assertEqual(self.told, [])
