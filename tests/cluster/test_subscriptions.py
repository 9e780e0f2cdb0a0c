"""What is said so that channels are heard, to another side that confirms when a test lets it."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.cluster.subscriptions import CHUNK, Subscriptions


class SubscriptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[tuple[str, str]] = []
        self.heard: list[str] = []
        self.channels = Subscriptions(
            self.clock, self._say, self.heard.append, lambda: self.heard.append("complete")
        )

    def _say(self, command: str, channels: list[str]) -> None:
        self.said += [(command, channel) for channel in channels]

    def confirm(self) -> list[tuple[str, str]]:
        """Let everything be confirmed that was said, in its order; what it was."""
        self.clock.advance(0)
        said, self.said = self.said, []
        for _, channel in said:
            self.channels.confirm(channel)
        return said

    def begin(self, *channels: str) -> None:
        self.channels.add(channels)
        self.channels.begin()
        self.confirm()
        self.heard.clear()

    def test_wanted_before_there_is_a_connection(self) -> None:
        """What is wanted is said once there is a connection, and complete when all of it is confirmed."""
        self.channels.add(["a", "b"])
        self.clock.advance(0)
        self.assertEqual(self.said, [])
        self.channels.begin()
        self.assertEqual(self.confirm(), [("SUBSCRIBE", "a"), ("SUBSCRIBE", "b")])
        self.assertEqual(self.heard, ["a", "b", "complete"])

    def test_nothing_wanted(self) -> None:
        """With nothing to wait for a connection is complete."""
        self.channels.begin()
        self.clock.advance(0)
        self.assertEqual(self.heard, ["complete"])

    def test_one_chunk_at_a_time(self) -> None:
        """Many channels are said in chunks, each after the one before is confirmed."""
        self.channels.add(map(str, range(2 * CHUNK + 1)))
        self.channels.begin()
        self.assertEqual([len(self.confirm()) for _ in range(4)], [CHUNK, CHUNK, 1, 0])
        self.assertEqual(len(self.heard), 2 * CHUNK + 2)

    def test_meanwhile(self) -> None:
        """What is asked for while something is under way is said together, when that is confirmed."""
        self.begin()
        self.channels.add(["a"])
        self.clock.advance(0)
        self.channels.add(["b"])
        self.channels.add(["c"])
        self.clock.advance(0)
        self.assertEqual(self.confirm(), [("SUBSCRIBE", "a")])
        self.assertEqual(self.confirm(), [("SUBSCRIBE", "b"), ("SUBSCRIBE", "c")])

    def test_taken_back_and_wanted_again(self) -> None:
        """A confirmation of a wish that was taken back meanwhile is not one of the next wish."""
        self.begin("a")
        self.channels.remove(["a"])
        self.clock.advance(0)
        self.channels.add(["a"])
        self.assertEqual(self.confirm(), [("UNSUBSCRIBE", "a")])
        self.assertEqual(self.heard, [])
        self.assertEqual(self.confirm(), [("SUBSCRIBE", "a")])
        self.assertEqual(self.heard, ["a"])

    def test_changed_twice(self) -> None:
        """A wish that is taken back and made again at once costs nothing, and is confirmed."""
        self.begin("a")
        self.channels.remove(["a"])
        self.channels.add(["a"])
        self.assertEqual(self.confirm(), [])
        self.assertEqual(self.heard, ["a"])

    def test_taken_back_while_beginning(self) -> None:
        """What is no longer wanted is not waited for."""
        self.channels.add(["a"])
        self.channels.begin()
        self.clock.advance(0)
        self.channels.remove(["a"])
        self.confirm()
        self.assertEqual(self.heard, ["complete"])
        self.assertEqual(self.confirm(), [("UNSUBSCRIBE", "a")])

    def test_next_connection(self) -> None:
        """All that is wanted is said again on the next connection, whatever was under way."""
        self.begin("a")
        self.channels.add(["b"])
        self.clock.advance(0)
        self.channels.end()
        self.channels.add(["c"])
        self.said.clear()
        self.clock.advance(0)
        self.channels.begin()
        self.assertEqual(self.confirm(), [("SUBSCRIBE", channel) for channel in "abc"])
        self.assertEqual(self.heard, ["a", "b", "c", "complete"])
