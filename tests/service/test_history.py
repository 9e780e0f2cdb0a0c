"""The numbers of the last hour."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.metrics import Metrics
from happy.service.history import SAMPLES, SECONDS, History


class Status:
    """Knows the size of a database."""

    database_bytes = 8_000_000

    def __init__(self) -> None:
        self.counted = 0

    async def count(self, patience: float) -> None:
        self.counted += 1


class HistoryTests(SynchronousTestCase):
    """Samples on a clock of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.status = Status()
        status: Any = self.status
        self.history = History(self.metrics, self.clock, self.clock.seconds, status)
        self.history.start()

    def latest(self) -> dict[str, float | None]:
        """The newest sample, taken now."""
        self.clock.advance(SECONDS)
        return {name: values[-1] for name, values in self.history.columns().items()}

    def test_quiet(self) -> None:
        """Where nothing happens rates are zero, and times are unknown."""
        latest = self.latest()
        self.assertGreater(latest.pop("memoryBytes") or 0, 1_000_000)
        self.assertEqual(
            latest,
            {
                "at": 15_000,
                "user": 0,
                "session": 0,
                "machine": 0,
                "messages": 0,
                "heartbeats": 0,
                "commits": 0,
                "commitMs": None,
                "commitSlowMs": None,
                "calls": 0,
                "callMs": None,
                "callSlowMs": None,
                "databaseBytes": 8_000_000,
            },
        )

    def test_rates(self) -> None:
        """Messages and heartbeats are told by the minute, times as means and as what few exceed."""
        self.metrics.websocket_connections_total.labels("user-scoped", "ios", "ios").inc(2)
        for _ in range(99):
            self.metrics.happy_commit_rows.observe(3)
            self.metrics.happy_commit_seconds.observe(0.004)
        self.metrics.happy_commit_seconds.observe(2.0)
        self.metrics.session_alive_events_total.inc(5)
        self.metrics.machine_alive_events_total.inc(5)
        self.metrics.rpc_call_duration_seconds.labels("a", "ok").observe(0.1)
        self.metrics.rpc_call_duration_seconds.labels("b", "ok").observe(0.3)
        latest = self.latest()
        self.assertEqual((latest["user"], latest["messages"], latest["heartbeats"]), (2, 297 * 4, 40))
        self.assertAlmostEqual(latest["commitMs"] or 0, (99 * 0.004 + 2) / 100 * 1000)
        self.assertAlmostEqual(latest["callMs"] or 0, 200)
        self.assertEqual((latest["commits"], latest["calls"]), (100 * 4, 2 * 4))
        self.assertEqual(latest["callSlowMs"], 500)
        self.assertEqual(self.latest()["messages"], 0)

    def test_messages(self) -> None:
        """Messages a minute are those since the start, until there was a minute."""
        self.assertEqual(self.history.messages(), 0)
        self.metrics.happy_commit_rows.observe(3)
        self.clock.advance(6)
        self.assertEqual(self.history.messages(), 30)
        self.clock.advance(24)
        self.assertEqual(self.history.messages(), 6)
        self.clock.pump([SECONDS] * 5)
        self.assertEqual(self.history.messages(), 0)

    def test_longer_than_any_bound(self) -> None:
        """Of times beyond every bound the mean is told."""
        self.metrics.happy_commit_seconds.observe(60)
        self.assertEqual(self.latest()["commitSlowMs"], 60_000)

    def test_bounded(self) -> None:
        """It is an hour, however long the server runs, and the database is counted once a minute."""
        self.clock.pump([SECONDS] * (2 * SAMPLES))
        columns = self.history.columns()
        self.assertEqual({len(values) for values in columns.values()}, {SAMPLES})
        self.assertEqual(self.status.counted, (2 * SAMPLES) // 4 + 1)
        self.history.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
