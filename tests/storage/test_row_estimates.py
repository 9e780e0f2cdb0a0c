"""Estimated sizes of the tables."""

from __future__ import annotations

from happy.storage.row_estimates import estimate_records
from happy.storage.transaction import Transaction
from tests.harness import DatabaseCase, psql

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "createdAt", "updatedAt")
VALUES ('s', %s, 't', 'm', now(), now())
"""


class StatisticsTests(DatabaseCase):
    """What the metrics show of the tables."""

    fresh = True

    async def estimates(self) -> dict[str, int]:
        async def work(tx: Transaction) -> dict[str, int]:
            return await estimate_records(tx)

        return await self.database.read(work)

    async def test_estimates(self) -> None:
        """Each table has the planner's estimate, or what was counted since, whichever is more."""
        account = await self.new_account()
        none = {"sessions": 0, "messages": 0, "machines": 0}
        self.assertEqual(await self.estimates(), none)
        psql(self.dsn, NEW_SESSION, (account,))
        psql(self.dsn, 'ANALYZE "Session"')
        self.assertEqual(await self.estimates(), {**none, "sessions": 1})
