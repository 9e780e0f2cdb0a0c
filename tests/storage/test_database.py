"""Transactions, publication order and lost connections, on a real PostgreSQL."""

from __future__ import annotations

from typing import NamedTuple

from happy.storage.database import Transaction
from tests.harness import DatabaseCase


class Audience(NamedTuple):
    account: str


class TransactTests(DatabaseCase):
    """What a transaction does and leaves."""

    async def test_publishes_with_consecutive_numbers(self) -> None:
        """Publications of a transaction take the account's next numbers, in their order."""
        account = await self.new_account()

        async def work(tx: Transaction) -> str:
            tx.publish(Audience(account), "first")
            tx.publish(Audience(account), "second")
            return "done"

        self.assertEqual(await self.database.transact(work, accounts=[account]), "done")
        self.assertEqual(await self.database.transact(work, accounts=[account]), "done")
        self.assertEqual(self.publisher.seqs(account), [1, 2, 3, 4])
