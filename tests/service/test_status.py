"""The record of what an operator wants to see, and how often it is counted anew."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.metrics import Metrics
from happy.service.counted import PATIENCE, Counted
from happy.service.status import Quotas, Sockets, Status, sockets
from tests.capabilities.asking import CapabilityCase


class CountedTests(SynchronousTestCase):
    """An answer that costs something."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[int]] = []
        self.kept = Counted[int]("sheep", self.ask, 5.0, self.clock)

    async def ask(self) -> int:
        self.asked.append(Deferred())
        return await self.asked[-1]

    def fresh(self) -> Deferred[int | None]:
        return Deferred.fromCoroutine(self.kept.fresh())

    def test_asked_once(self) -> None:
        """All who want it at the same time, and a while after, share one answer."""
        waiting = [self.fresh(), self.fresh()]
        self.asked[0].callback(7)
        self.assertEqual([self.successResultOf(one) for one in waiting], [7, 7])
        self.clock.advance(4.9)
        self.assertEqual(self.successResultOf(self.fresh()), 7)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(0.2)
        renewed = self.fresh()
        self.asked[1].callback(8)
        self.assertEqual(self.successResultOf(renewed), 8)

    def test_slow(self) -> None:
        """Nobody waits for long; an answer that comes late is there for whoever asks then."""
        waiting = self.fresh()
        self.clock.advance(PATIENCE)
        self.assertIsNone(self.successResultOf(waiting))
        self.asked[0].callback(7)
        self.assertEqual(self.successResultOf(self.fresh()), 7)

    def test_failure(self) -> None:
        """One that fails leaves the former."""
        first = self.fresh()
        self.asked[0].callback(7)
        self.successResultOf(first)
        self.clock.advance(5)
        second = self.fresh()
        self.asked[1].errback(ZeroDivisionError())
        self.assertEqual(self.successResultOf(second), 7)


class SocketsTests(SynchronousTestCase):
    """Sockets by scope."""

    def test_sum(self) -> None:
        """Those of all clients count together."""
        metrics = Metrics()
        for scope, client in (("user-scoped", "ios"), ("user-scoped", "web"), ("machine-scoped", "cli")):
            metrics.websocket_connections_total.labels(scope, client, client).inc()
        self.assertEqual(sockets(metrics), Sockets(user=2, session=0, machine=1))


class Calm:
    """A server that is ready."""

    free = 5

    async def reasons(self) -> list[str]:
        return []


class ReportTests(CapabilityCase):
    """The report on a real database."""

    fresh = True

    async def test_report(self) -> None:
        """Accounts and pairings are exact, sizes are there, and the metric shows what was counted."""
        for _ in range(3):
            await self.new_account()
        await self.ask("POST", "/v1/auth/account/request", {"publicKey": "A" * 43 + "="})
        (self.folder / "public").mkdir()
        (self.folder / "public" / "a").write_bytes(b"x" * 1000)
        calm = Calm()
        self.change(config=replace(self.server.config, account_sockets=7))
        status = Status(self.server, calm)  # type: ignore[arg-type]
        report = await status.report()
        self.assertEqual(report.quotas, Quotas(account_sockets=7))
        self.assertEqual((report.ready, report.accounts, report.pairings), (True, 3, 1))
        self.assertEqual((report.files_bytes, report.free_bytes), (1000, 5))
        self.assertGreater(report.database_bytes or 0, 1_000_000)
        shown = self.server.metrics.registry.get_sample_value("database_records_total", {"table": "accounts"})
        self.assertEqual(shown, 3)
