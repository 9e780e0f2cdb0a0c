"""Databases behind a pooler of transactions: the settings hold where they are needed."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from happy.base.coroutines import drive
from happy.storage.blocking import connect
from happy.storage.database import Database
from happy.storage.dsn import parse_target
from happy.storage.migrate import migrate
from happy.storage.session import with_settings
from happy.storage.transaction import Transaction
from tests.harness import DatabaseCase, psql
from tests.storage.poolers import PgBouncer, SmallPooler
from tests.storage.working import Audience

ASK = """
SELECT current_setting('random_page_cost'), current_setting('statement_timeout'),
       current_schema()::text, current_setting('TimeZone'), %s
"""
SET = [("1.1", "8s", "public", "UTC", "100%")]


async def ask(tx: Transaction) -> list[tuple[object, ...]]:
    """What a statement finds its settings to be."""
    return await tx.rows(ASK, ("100%",))


class PoolerTests(DatabaseCase):
    """The same work on a database that is reached in another way."""

    async def through(self, url: str) -> Database:
        """A started database by this URL."""
        database = self.make_database(dsn=url)
        await migrate(database)
        await database.start()
        self.addCleanup(lambda: drive(database.stop(), lambda _: None, lambda error: None))
        return database

    async def works(self, url: str) -> None:
        """Reading, reading aside, and writing have the settings; what is published has its number."""
        database = await self.through(url)
        assert database.connector.pooled
        self.assertEqual(await database.read(ask), SET)
        self.assertEqual(await database.read(ask, seconds=8), SET)
        self.assertEqual(await database.apply(ask), SET)
        account = await self.new_account()

        async def work(tx: Transaction) -> list[tuple[object, ...]]:
            tx.publish(Audience(account), "changed")
            return await ask(tx)

        self.assertEqual(await database.transact(work, accounts=[account]), SET)
        self.assertEqual(self.publisher.seqs(account), [1])

    def name(self) -> str:
        """The database of this test."""
        return parse_target(self.dsn).parameters["dbname"]

    async def test_refused_options(self) -> None:
        """A pooler that refuses the option of sessions is noticed, whatever the URL says."""
        pooler = SmallPooler(reactor, drops=False)
        self.addCleanup(lambda: drive(pooler.stop(), lambda _: None, lambda error: None))
        await self.works(pooler.url(self.name()))

    async def test_refused_options_of_the_url(self) -> None:
        """Who waits for the database reaches it as well, without what the URL asks for and may not have."""
        pooler = SmallPooler(reactor, drops=False)
        self.addCleanup(lambda: drive(pooler.stop(), lambda _: None, lambda error: None))
        url = f"{pooler.url(self.name())}&options=-c%20work_mem%3D1MB"
        connection = await deferToThread(connect, url, "a tool")
        self.addCleanup(connection.close)
        self.assertTrue(connection.alive)

    async def test_dropped_options(self) -> None:
        """One that drops it in silence is noticed as well."""
        pooler = SmallPooler(reactor, drops=True)
        self.addCleanup(lambda: drive(pooler.stop(), lambda _: None, lambda error: None))
        await self.works(pooler.url(self.name()))

    async def test_told_by_the_url(self) -> None:
        """Who says so has the settings in each transaction, a schema of its own among them."""
        psql(self.dsn, 'CREATE SCHEMA IF NOT EXISTS "my ""own"""')
        database = self.make_database(dsn=f"{self.dsn}&pgbouncer=true&schema=my%20%22own%22")
        rows = await database.read(ask)
        self.assertEqual(rows[0][2], 'my "own"')
        await database.stop()

    async def test_directly(self) -> None:
        """Without a pooler the session has them, and no statement is longer for it."""
        self.assertFalse(self.database.connector.pooled)
        self.assertEqual(await self.database.read(ask), SET)

    async def test_pgbouncer(self) -> None:
        """The real one."""
        if PgBouncer.program is None:
            pytest.skip("PgBouncer is not installed")
        pooler = PgBouncer()
        self.addCleanup(pooler.stop)
        await self.works(pooler.url(self.name()))
        left = psql(pooler.url(self.name()), "SELECT current_setting('random_page_cost')")
        self.assertEqual(left, [("4",)])


@pytest.mark.parametrize(
    ("sql", "params", "sent"),
    [
        ("SELECT 1", (), "S '%';SELECT 1"),
        ("SELECT %s", (1,), "S '%%';SELECT %s"),
        ("BEGIN;SELECT 1", (), "BEGIN;S '%';SELECT 1"),
        ("BEGIN", (), "BEGIN;S '%';"),
        ("BEGIN READ ONLY;SET LOCAL a = 1", (), "BEGIN READ ONLY;S '%';SET LOCAL a = 1"),
        ("\nBEGINNING", (), "S '%';\nBEGINNING"),
    ],
)
def test_with_settings(sql: str, params: tuple[int, ...], sent: str) -> None:
    """Settings follow the beginning of a transaction, or stand in front of what is one by itself."""
    assert with_settings("S '%';", sql, params) == sent
