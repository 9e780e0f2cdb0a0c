"""Servers that start on one external database, at the same time or one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from happy.base.errors import StartupError
from happy.cluster.postgres_bus import PostgresBus
from happy.metrics import Metrics
from happy.realtime.hub import Hub
from happy.service.lifecycle import Lifecycle
from happy.service.membership import NodeMembership
from happy.settings.config import Config
from happy.settings.loading import load
from happy.storage import alone
from happy.storage.blocking import finished, opened
from happy.storage.connection import Deadlines, execute
from happy.storage.migrate import load_migrations
from tests.harness import psql, run_migrations, scratch_database
from tests.service.test_identity import keys
from tests.storage.test_migrate import forget_newest

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
SECRET = """
INSERT INTO "happy_secrets" ("publicKey", "createdAt", "since") VALUES (%s, now(), now())
"""
OWN = [(len(load_migrations()) - 1,)]


class MembershipTests(TestCase):
    """The database of a start."""

    def setUp(self) -> None:
        self.patch(alone.Alone.start, "__defaults__", (0.3,))
        self.lifecycle = Lifecycle(reactor)

    @contextmanager
    def config(self) -> Iterator[Config]:
        """The settings of a server with a folder for snapshots."""
        with TemporaryDirectory() as folder:
            yield load({"data-dir": [folder]}, {})

    def start(self, config: Config, dsn: str, *, bus: bool = False, secret: int = 1) -> Deferred[object]:
        """A server comes to the database, alone or as a node."""
        metrics = Metrics()
        made = PostgresBus(reactor, dsn, service="happy", version=1) if bus else None
        node = NodeMembership(Hub(metrics), reactor, time.time, metrics, made, "n")
        coming = node.start_database(config, dsn, keys(secret), self.lifecycle, alone=True)
        return Deferred.fromCoroutine(coming)

    async def both(self, dsn: str, *, bus: bool) -> list[Failure]:
        """Two come at once; how those end that are refused."""
        with self.config() as config:
            outcomes = await DeferredList(
                [self.start(config, dsn, bus=bus) for _ in range(2)], consumeErrors=True
            )
            await self.lifecycle.stop()
        return [outcome for succeeded, outcome in outcomes if not succeeded]

    async def test_two_at_once(self) -> None:
        """On a fresh database one of two servers migrates and has it; the other is refused with a line."""
        with scratch_database(migrated=False) as dsn:
            (refused,) = await self.both(dsn, bus=False)
            refused.trap(StartupError)
            self.assertRegex(str(refused.value), r"^DATABASE_URL: another server uses this database .*$")
            self.assertEqual(psql(dsn, 'SELECT count(*) FROM "happy_migrations"'), OWN)

    async def test_two_nodes_at_once(self) -> None:
        """Two nodes that know of each other both have it, and one of them migrates."""
        with scratch_database(migrated=False) as dsn:
            self.assertEqual(await self.both(dsn, bus=True), [])
            self.assertEqual(psql(dsn, 'SELECT count(*) FROM "happy_migrations"'), OWN)

    async def test_a_stranger_changes_nothing(self) -> None:
        """Who finds another server at the database leaves it as it is."""
        with scratch_database(migrated=False) as dsn, self.config() as config:
            with opened(dsn, "other") as other:
                finished(execute(other.connection, alone.TAKE, alone.lock_keys("public", None)))  # type: ignore[arg-type]
                await self.assertFailure(self.start(config, dsn), StartupError)
            self.assertEqual(psql(dsn, TABLES), [(0,)])

    async def test_another_secret_changes_nothing(self) -> None:
        """Who comes with the secret of other data does not change its tables either, and leaves no timer."""
        with scratch_database(migrated=False) as dsn, self.config() as config:
            run_migrations(dsn)
            psql(dsn, SECRET, [keys(1).public_key])
            psql(dsn, """INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('a', 'k', now())""")
            forget_newest(dsn)
            error = await self.assertFailure(self.start(config, dsn, secret=2), StartupError)
            await self.lifecycle.stop()
            self.assertNotIn(Deadlines.__name__, str(reactor.getDelayedCalls()))  # type: ignore[attr-defined]
            self.lifecycle = Lifecycle(reactor)
            self.assertIn("is not the one that the database was used with", str(error))
            self.assertEqual(psql(dsn, 'SELECT count(*) FROM "happy_migrations"'), [(OWN[0][0] - 1,)])
            await self.start(config, dsn, secret=1)
            self.assertEqual(psql(dsn, 'SELECT count(*) FROM "happy_migrations"'), OWN)
            await self.lifecycle.stop()
