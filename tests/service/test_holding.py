"""Who may use a database beside the workers of a server."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from happy.base.errors import StartupError
from happy.metrics import Metrics
from happy.service.holding import hold, hold_for_workers
from happy.service.lifecycle import Lifecycle
from happy.settings.config import Config
from happy.settings.loading import load
from happy.storage import alone
from tests.harness import DatabaseCase


class HoldingTests(DatabaseCase):
    """Servers on one database."""

    async def setUp(self) -> None:
        await super().setUp()
        self.patch(alone.Alone.start, "__defaults__", (0,))
        self.lifecycle = Lifecycle(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.lifecycle.stop()))
        await self.workers()

    async def workers(self, **more: str) -> None:
        """The parent of two starts."""
        given = {"workers": ["2"], **{name: [text] for name, text in more.items()}}
        await hold_for_workers(load(given, {}), self.dsn, reactor, Metrics(), self.lifecycle)

    async def alone(self, bus: str | None = None) -> None:
        """A single process starts."""
        await hold(Config(), self.database, reactor, self.dsn, bus, self.lifecycle)

    async def test_those_of_other_hosts(self) -> None:
        """Workers and single nodes that hear each other have the database together."""
        await self.workers()
        await self.alone("PostgresBus")

    async def test_strangers(self) -> None:
        """Who cannot be heard is refused: a server alone, one of another cluster, or of another bus."""
        await self.assertFailure(Deferred.fromCoroutine(self.alone()), StartupError)
        for other in ({"cluster": "another"}, {"redis-url": "redis://localhost"}):
            await self.assertFailure(Deferred.fromCoroutine(self.workers(**other)), StartupError)
