"""From an account's first client on its updates are heard; some time after its last one they are not."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.cluster.feed import Feed, Told
from happy.cluster.hosting import HOST_SECONDS, LOOK_SECONDS, Hosted, Hosting
from tests.cluster.memory_bus import MemoryBus, MemoryEngine


class TestHosting(SynchronousTestCase):
    """The hosting of a node; its numbers are read when the test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = MemoryEngine(self.clock)
        self.bus = MemoryBus(self.engine)
        self.reads: list[Deferred[int]] = []
        self.told: list[str] = []
        self.is_needed = True
        self.hosting = Hosting(
            self.bus,
            self,
            self.clock,
            number=self.number,
            joined=lambda hosted: self.told.append(f"joined {hosted.account}"),
            left=lambda hosted: self.told.append(f"left {hosted.account}"),
            needed=lambda hosted: self.is_needed,
        )
        self.bus.start(self)

    def number(self, account: str) -> Deferred[int]:
        self.reads.append(Deferred())
        return self.reads[-1]

    def confirmed(self, channel: str) -> None:
        self.hosting.confirmed(channel.partition(":")[2])

    def lost(self) -> None:
        self.hosting.lost()

    def heard(self, channel: str, payload: bytes) -> None:
        """Nobody says anything."""

    def back(self) -> None:
        """Nothing."""

    def tell(self, told: Told) -> None:
        """Nobody listens."""

    def ask(self, feed: Feed) -> None:
        """Nothing is missing."""

    def arrived(self) -> None:
        """Nothing was missing."""

    def cut(self, account: str) -> None:
        """Nobody is connected."""

    def host(self) -> Deferred[None]:
        hosting = self.hosting.host("ann")
        assert hosting is not None
        return hosting

    def hosted(self) -> Hosted:
        found = self.hosting.get("ann")
        assert found is not None
        return found

    def test_the_first_client(self) -> None:
        """First the channel, then the number, then the client; others wait with it, or not at all."""
        first, second = self.host(), self.host()
        self.assertEqual(self.reads, [])
        self.clock.advance(0)
        self.assertEqual((len(self.reads), self.bus.subscribed), (1, {"a:ann"}))
        self.assertNoResult(first)
        self.reads[0].callback(7)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertIsNone(self.hosting.host("ann"))
        self.assertEqual((self.hosted().feed.next, self.told), (8, ["joined ann"]))

    def test_without_a_bus(self) -> None:
        """Nothing is confirmed; what is missed will be looked for."""
        self.engine.leave()
        first = self.host()
        self.reads[0].callback(7)
        self.successResultOf(first)

    def test_the_bus_goes_meanwhile(self) -> None:
        """It is not waited for."""
        first = self.host()
        self.engine.leave()
        self.reads[0].callback(7)
        self.successResultOf(first)

    def test_no_answer(self) -> None:
        """The client is told to try again; then everything begins anew, and old answers do not count."""
        first = self.host()
        self.clock.advance(0)
        self.clock.advance(HOST_SECONDS)
        self.failureResultOf(first, TimeoutError)
        self.assertIsNone(self.hosting.get("ann"))
        self.assertTrue(self.reads[0].called)  # for nothing is kept of who has left
        again = self.host()
        self.clock.advance(0)
        self.reads[0].callback(3)
        self.assertNoResult(again)
        self.reads[1].callback(7)
        self.successResultOf(again)
        self.assertEqual(self.hosted().feed.next, 8)

    def test_the_last_client_is_gone(self) -> None:
        """It is seen after a while; what is said of the account is not heard any more."""
        first = self.host()
        self.clock.advance(0)
        self.reads[0].callback(7)
        self.successResultOf(first)
        feed = self.hosted().feed
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(len(self.hosting), 1)
        self.is_needed = False
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(
            (len(self.hosting), self.told, self.bus.subscribed), (0, ["joined ann", "left ann"], set())
        )
        self.assertTrue(feed.ended)

    def test_an_end(self) -> None:
        """No timer is left."""
        self.host()
        self.clock.advance(0)
        self.reads[0].callback(7)
        self.hosting.stop()
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [])
