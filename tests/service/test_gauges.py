"""The measurements at intervals."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.metrics import Metrics
from happy.service.gauges import LAG_INTERVAL, Gauges, Stalls, free_bytes


class GaugesTests(SynchronousTestCase):
    """Measurements at intervals, on a clock of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.asked: list[Deferred[Mapping[str, int]]] = []
        self.free = 7_000_000
        self.gauges = Gauges(self.metrics, self.clock, self.count, self.room)
        self.gauges.start()

    async def count(self) -> Mapping[str, int]:
        self.asked.append(Deferred())
        return await self.asked[-1]

    async def room(self) -> int:
        if not self.free:
            raise OSError
        return self.free

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def test_records_every_minute(self) -> None:
        """Records are counted at the start and once a minute."""
        self.asked[0].callback({"accounts": 2, "messages": 0})
        self.clock.pump([1] * 59)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        self.asked[1].callback({"accounts": 3})
        self.assertEqual(self.value("database_records_total", table="accounts"), 3)
        self.assertEqual(self.value("database_records_total", table="messages"), 0)

    def test_slow_count_is_not_repeated(self) -> None:
        """While an answer is outstanding, nobody asks again; one that does not come is not waited for."""
        self.clock.pump([60] * 4)
        self.assertEqual(len(self.asked), 1)
        self.clock.pump([60] * 2)
        self.assertEqual(len(self.asked), 2)

    def test_failed_count(self) -> None:
        """A failed count is survived; the next minute may do better."""
        self.asked[0].errback(ConnectionError("postgresql://u:pw@h"))
        self.clock.pump([1] * 60)
        self.asked[1].callback({"accounts": 3})
        self.assertEqual(self.value("database_records_total", table="accounts"), 3)

    def test_room_every_minute(self) -> None:
        """The room for data is measured as often, and one that cannot be measured stays as it was."""
        self.asked[0].callback({})
        self.assertEqual(self.value("happy_data_free_bytes"), 7_000_000)
        for free, shown in ((0, 7_000_000), (5_000_000, 5_000_000)):
            self.free = free
            self.clock.advance(60)
            self.asked[-1].callback({})
            self.assertEqual(self.value("happy_data_free_bytes"), shown)

    def test_stop_while_counting(self) -> None:
        """What is counted while the server stops is given up, and nobody needs to hear of that."""
        with capturedLogs() as said:
            self.gauges.stop()
        self.assertTrue(self.asked[0].called)
        self.assertEqual((said, self.clock.getDelayedCalls()), ([], []))

    def test_stop(self) -> None:
        """After the stop no timer is left."""
        self.asked[0].callback({})
        self.gauges.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StallTests(SynchronousTestCase):
    """How long nobody was heard."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.stalls = Stalls(self.metrics, self.clock)

    def value(self, what: str, **labels: str) -> float | None:
        name = f"happy_reactor_stall_seconds_{what}"
        return self.metrics.registry.get_sample_value(name, labels)

    def test_told(self) -> None:
        """A long turn is counted in its bucket; one of a second or more is said in the log, with its time."""
        seen = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        for seconds in (0.051, 0.99, 1.25):
            self.stalls.took(seconds)
        self.assertEqual([self.value("bucket", le=le) for le in ("0.05", "0.1", "1.0")], [0, 1, 2])
        self.assertEqual(["1.2 s" in formatEvent(event) for event in seen], [True])

    def test_timer(self) -> None:
        """Where turns are not timed, a timer that is late tells of it; one that is not tells nothing."""
        self.stalls.start()
        self.clock.pump([LAG_INTERVAL] * 8)
        self.assertEqual(self.value("count"), 0)
        self.clock.advance(LAG_INTERVAL + 0.75)
        self.assertEqual((self.value("count"), self.value("sum")), (1, 0.75))
        self.stalls.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RoomTests(SynchronousTestCase):
    """The room of a file system."""

    def test_free_bytes(self) -> None:
        """It is that of the folder, or of where the folder would be made."""
        here = Path(tempfile.mkdtemp())
        self.addCleanup(here.rmdir)
        found = free_bytes(here / "not" / "made")
        self.assertGreater(found, 0)
        self.assertAlmostEqual(found, free_bytes(here), delta=found // 2)
