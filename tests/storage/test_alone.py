"""Who may use a database beside whom."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.base.errors import StartupError
from happy.storage.alone import Alone, lock_keys
from happy.storage.connection import Connection
from tests.harness import DatabaseCase, psql

SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"


class AloneTests(DatabaseCase):
    """Servers on one database."""

    def server(self, bus: str | None = None, schema: str = "public") -> Alone:
        """One that stops with the test."""
        alone = Alone(self.database.connect, reactor, schema, bus)
        self.addCleanup(alone.stop)
        return alone

    async def refused(self, alone: Alone) -> str:
        """The one line that a start ends with."""
        error = await self.assertFailure(Deferred.fromCoroutine(alone.start(0)), StartupError)
        self.assertNotIn("\n", str(error))
        return str(error)

    async def test_the_second_is_refused(self) -> None:
        """While one server is there no other starts, with a bus or without; afterwards one does."""
        first = self.server()
        await first.start()
        self.assertIn(
            "another server uses this database (on the same machine", await self.refused(self.server())
        )
        self.assertIn("another server", await self.refused(self.server("redis://a")))
        first.stop()
        await self.server().start()

    async def test_nodes_that_know_of_each_other(self) -> None:
        """Nodes of one bus share the database; one of another bus, or of none, is refused."""
        await self.server("redis://a").start()
        await self.server("redis://a").start()
        await self.refused(self.server("redis://b"))
        await self.refused(self.server())

    async def test_another_schema_is_another_database(self) -> None:
        """Two deployments in one database are none of each other's business."""
        await self.server().start()
        await self.server(schema="other").start()

    async def test_one_that_leaves_is_waited_for(self) -> None:
        """A start while the one before still stops goes well."""
        first, second = self.server(), self.server()
        await first.start()
        reactor.callLater(0.1, first.stop)
        await second.start()

    async def test_a_lost_lock_is_taken_again(self) -> None:
        """After PostgreSQL ended the session the lock comes back, and others are refused again."""
        first: Any = self.server()
        await first.start()
        psql(self.dsn, SESSIONS)
        while first._connection is not None and first._connection.alive:
            await deferLater(reactor, 0.01)
        await first._hold()
        await self.refused(self.server())

    async def test_a_stop_while_it_is_taken_again(self) -> None:
        """Who stops while a connection is made leaves the database to others for good."""
        connecting: Deferred[None] = Deferred()

        async def connect() -> Connection:
            await connecting
            return await self.database.connect()

        slow = Alone(connect, reactor, "public")
        taking = Deferred.fromCoroutine(slow.start(0))
        slow.stop()
        connecting.callback(None)
        await self.assertFailure(taking, StartupError)
        await self.server().start(0)


def test_keys_are_numbers_of_32_bits() -> None:
    """Whatever a schema and a bus are called, PostgreSQL takes the numbers, and a bus is not "no bus"."""
    for name in ("public", "a", "b", "ä" * 100):
        keys = lock_keys(name, name)
        assert all(-(2**31) <= number < 2**31 for number in keys.values())
        assert keys["bus"] != 0 == lock_keys(name, None)["bus"]
