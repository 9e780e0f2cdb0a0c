"""Estimated sizes of the tables."""

from __future__ import annotations

from happy.storage.database import Transaction
from happy.storage.row_estimates import estimate_records
from tests.harness import DatabaseCase, psql


class StatisticsTests(DatabaseCase):
    """What the metrics show of the tables."""

    fresh = True

    async def estimates(self) -> dict[str, int]:
        async def work(tx: Transaction) -> dict[str, int]:
            return await estimate_records(tx)

        return await self.database.read(work)

    async def test_planner_estimates(self) -> None:
        """Each table has the planner's estimate, which is 0 before its first analysis."""
        await self.new_account()
        none = {"accounts": 0, "sessions": 0, "messages": 0, "machines": 0}
        self.assertEqual(await self.estimates(), none)
        psql(self.dsn, 'ANALYZE "Account"')
        self.assertEqual(await self.estimates(), {**none, "accounts": 1})
