"""What the operator says, in a database that has lost the row for it."""

from __future__ import annotations

from happy.storage import access, registration
from happy.storage.registration import InForce
from tests.harness import DatabaseCase, psql


class LostRowTests(DatabaseCase):
    """The one row of what was said."""

    async def setUp(self) -> None:
        await super().setUp()
        psql(self.dsn, 'DELETE FROM "happy_access"')

    async def in_force(self) -> InForce:
        """What holds where the settings say open."""
        return await self.database.transact(lambda tx: registration.current(tx, "open", hold=True))

    async def test_nothing_was_said(self) -> None:
        """Without it the settings decide, and nodes can tell that it is gone."""
        self.assertIsNone(await self.database.read(access.version))
        self.assertEqual(await self.in_force(), InForce("open"))

    async def test_what_is_said_for_good(self) -> None:
        """What is said then holds, as ever."""
        await self.database.transact(lambda tx: registration.say(tx, "closed"))
        self.assertEqual(await self.in_force(), InForce("closed"))
        await self.database.transact(lambda tx: registration.say(tx, "open"))
        self.assertEqual(await self.in_force(), InForce("open"))

    async def test_what_is_said_for_a_while(self) -> None:
        """So does what is said for some accounts."""
        await self.database.transact(lambda tx: registration.say_for_now(tx, "closed", None, 2))
        self.assertEqual(await self.in_force(), InForce("closed", None, 2))

    async def test_changes(self) -> None:
        """Each change has a number of its own, so that every node looks."""
        versions = []
        for _ in range(2):
            await self.database.transact(access.changed)
            versions.append(await self.database.read(access.version))
        self.assertEqual(versions, [1, 2])
