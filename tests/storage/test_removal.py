"""Removing what an account has, some rows at a time."""

from __future__ import annotations

from happy.storage.removal import OF_ACCOUNT, remove_account, remove_of_account
from tests.harness import DatabaseCase, psql


class RemovalTests(DatabaseCase):
    async def test_without_the_table_that_the_original_drops(self) -> None:
        """An account goes as a whole where no table of conversations is left."""
        account = await self.new_account()
        psql(self.dsn, 'DROP TABLE "VoiceConversation"')
        for kind in range(len(OF_ACCOUNT)):
            work = await self.database.transact(lambda tx, kind=kind: remove_of_account(tx, account, kind))
            self.assertEqual(work, 0)
        self.assertTrue(await self.database.transact(lambda tx: remove_account(tx, account)))
