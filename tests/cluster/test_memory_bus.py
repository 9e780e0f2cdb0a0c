"""The bus in memory does what every bus promises, and fails in the ways that tests of nodes need."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.cluster.bus import BusLost
from tests.cluster.ears import Ear
from tests.cluster.memory_bus import MemoryBus, MemoryEngine


class MemoryBusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = MemoryEngine(self.clock)
        self.one, self.first = self.node()
        self.two, self.second = self.node()

    def node(self) -> tuple[MemoryBus, Ear]:
        bus, ear = MemoryBus(self.engine), Ear()
        bus.start(ear)
        bus.subscribe(["a"])
        self.pass_time()
        self.assertEqual(ear.taken(), ["back", "a"])
        return bus, ear

    def pass_time(self, seconds: float = 0.0) -> None:
        """Let everything that is due happen, and what follows from it."""
        self.clock.advance(seconds)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def test_everybody_hears(self) -> None:
        """A message reaches who subscribed, the sender too, and the sender learns how many they are."""
        self.two.unsubscribe(["a"])
        both = self.one.publish("a", b"1")
        self.pass_time()
        self.assertEqual((self.successResultOf(both), self.first.taken()), (1, [("a", b"1")]))
        self.assertEqual(self.second.taken(), [])

    def test_not_before_it_is_confirmed(self) -> None:
        """What is published before a subscription is confirmed is not heard."""
        self.engine.delay = 1.0
        self.one.publish("b", b"1")
        self.clock.advance(0.5)
        self.two.subscribe(["b"])
        self.pass_time(0.5)
        self.one.publish("b", b"2")
        self.pass_time(0.5)
        self.pass_time(0.5)
        self.assertEqual(self.second.taken(), ["b", ("b", b"2")])

    def test_dropped(self) -> None:
        """What is lost on its way is lost for one receiver, and the sender does not notice."""
        self.engine.drops = lambda sender, receiver, channel, payload: receiver is self.two
        sent = self.one.publish("a", b"1")
        self.pass_time()
        self.assertEqual((self.successResultOf(sent), self.second.taken()), (2, []))
        self.assertEqual(self.first.taken(), [("a", b"1")])

    def test_cut(self) -> None:
        """A bus that is cut fails what it has not heard of, and subscribes anew before it is back."""
        sent = self.one.publish("a", b"1")
        self.one.cut()
        self.failureResultOf(sent, BusLost)
        self.failureResultOf(self.one.publish("a", b"2"), BusLost)
        self.assertEqual((self.one.up, self.first.taken()), (False, ["lost"]))
        self.pass_time(self.engine.reconnecting)
        self.assertEqual((self.one.up, self.first.taken()), (True, ["a", "back"]))

    def test_away(self) -> None:
        """While the engine is away no bus is up; all come back with it."""
        self.engine.leave()
        self.pass_time(1.0)
        self.assertEqual(self.first.taken() + self.second.taken(), ["lost", "lost"])
        self.engine.come_back()
        self.pass_time(1.0)
        self.assertEqual(self.first.taken() + self.second.taken(), ["a", "back", "a", "back"])

    def test_frozen(self) -> None:
        """While the engine is frozen a bus is up and silent; afterwards everything comes, in order."""
        self.engine.freeze()
        self.one.publish("a", b"1")
        counted = self.two.subscribers("a")
        self.two.publish("a", b"2")
        self.pass_time(9.0)
        self.assertNoResult(counted)
        self.assertEqual((self.one.up, self.first.taken()), (True, []))
        self.engine.thaw()
        self.pass_time()
        self.assertEqual(self.successResultOf(counted), 2)
        self.assertEqual(self.first.taken(), [("a", b"1"), ("a", b"2")])

    def test_split(self) -> None:
        """Two sides do not hear each other, and count themselves alone."""
        self.engine.split([self.one], [self.two])
        sent = self.one.publish("a", b"1")
        self.pass_time()
        self.assertEqual((self.successResultOf(sent), self.second.taken()), (1, []))
        self.engine.split()
        self.two.publish("a", b"2")
        self.pass_time()
        self.assertEqual(self.first.taken(), [("a", b"1"), ("a", b"2")])

    def test_stopped(self) -> None:
        """A bus that was stopped is told nothing, and nobody counts on it."""
        self.two.stop()
        sent = self.one.publish("a", b"1")
        self.pass_time()
        self.assertEqual((self.successResultOf(sent), self.second.taken()), (1, []))
