"""The bus by PostgreSQL, on a real one."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from happy.base.errors import StartupError
from happy.cluster import postgres_bus
from happy.cluster.bus import NODES, BusLost, account_channel, node_channel
from happy.cluster.postgres_bus import PostgresBus
from happy.storage.connection import execute
from happy.storage.dsn import parse_target
from tests.cluster.ears import Ear
from tests.harness import cluster, psql, scratch_database
from tests.storage.poolers import SmallPooler

PATIENCE = 20.0


class PostgresBusTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        database = scratch_database(migrated=False)
        self.dsn = database.__enter__()
        self.addCleanup(database.__exit__, None, None, None)

    def make(self, dsn: str | None = None, **options: Any) -> PostgresBus:
        """A bus that is stopped after the test."""
        bus = PostgresBus(reactor, dsn or self.dsn, **{"service": "happy", "version": 1, **options})
        self.addCleanup(bus.stop)
        return bus

    async def connected(self, *channels: str, **options: Any) -> tuple[PostgresBus, Ear]:
        """A bus that is up and listens to some channels."""
        bus, ear = self.make(**options), Ear()
        bus.subscribe(channels)
        await bus.start(ear).addTimeout(PATIENCE, reactor)
        self.assertEqual((bus.up, ear.taken()), (True, [*channels, "back"]))
        return bus, ear

    async def test_hearing(self) -> None:
        """Who subscribed hears every byte in order, equal messages each, the sender too."""
        channel, payloads = account_channel("x"), [b"\x00\xff'\\", b"1", b"1", b"2" * 300_000, b"3"]
        one, first = await self.connected(channel)
        _, second = await self.connected(channel, NODES)
        sent = await gatherResults([one.publish(channel, payload) for payload in payloads])
        one.publish("a:other", b"")
        await one.publish(NODES, b"beat")
        expected = [(channel, payload) for payload in payloads]
        await first.until(*expected)
        await second.until((NODES, b"beat"))
        self.assertEqual(sent, [None] * 5)
        self.assertEqual(first.told, expected)
        self.assertEqual(second.told, [*expected, (NODES, b"beat")])

    async def test_a_turn_is_one_statement(self) -> None:
        """What is published in one turn goes out together."""
        bus, ear = await self.connected("a:1")
        executed: list[str] = []

        def counted(connection: Any, sql: str, *arguments: Any) -> Any:
            executed.append(sql)
            return execute(connection, sql, *arguments)

        self.patch(postgres_bus, "execute", counted)
        await gatherResults([bus.publish("a:1", b"%d" % number) for number in range(100)])
        await ear.when(lambda: len(ear.told) == 100)
        self.assertEqual(len(executed), 1)

    async def test_apart(self) -> None:
        """Other versions hear only that a node lives; other services hear nothing."""
        channel = node_channel("x")
        one, first = await self.connected(channel, NODES)
        newer, second = await self.connected(channel, NODES, version=2)
        other, third = await self.connected(channel, NODES, service="staging")
        await gatherResults([one.publish(channel, b"1"), one.publish(NODES, b"2")])
        await gatherResults([newer.publish(channel, b"3"), other.publish(channel, b"4")])
        await gatherResults(
            [ear.until((channel, b"%d" % n)) for ear, n in ((first, 1), (second, 3), (third, 4))]
        )
        self.assertEqual(first.told, [(channel, b"1"), (NODES, b"2")])
        self.assertEqual(second.told, [(NODES, b"2"), (channel, b"3")])
        self.assertEqual(third.told, [(channel, b"4")])

    async def test_subscribed_later(self) -> None:
        """A channel that is wanted later is confirmed, and heard until it is not wanted any more."""
        bus, ear = await self.connected()
        bus.subscribe([node_channel("x"), "a:1"])
        await ear.until(node_channel("x"), "a:1")
        await gatherResults([bus.publish(node_channel("x"), b"1"), bus.publish("a:1", b"2")])
        await ear.until((node_channel("x"), b"1"), ("a:1", b"2"))
        bus.unsubscribe(["a:1"])
        await gatherResults([bus.publish("a:1", b"3"), bus.publish(node_channel("x"), b"4")])
        await ear.until((node_channel("x"), b"4"))
        self.assertNotIn(("a:1", b"3"), ear.told)

    async def test_counted(self) -> None:
        """A node is known by its connection's name, and gone with it; nothing is known of accounts."""
        bus, _ = await self.connected(node_channel("x"))
        other, _ = await self.connected(node_channel("y"), "a:1")
        found = [bus.subscribers(channel) for channel in (node_channel("y"), node_channel("z"), "a:1")]
        self.assertEqual(await gatherResults(found), [1, 0, None])
        await other.stop()
        while await bus.subscribers(node_channel("y")):
            pass

    async def test_ended(self) -> None:
        """When its session ends, what is under way fails; it comes back and listens to everything."""
        bus, ear = await self.connected(node_channel("x"), "a:1")
        psql(
            self.dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
            ["%:n:x"],
        )
        await self.assertFailure(bus.publish("a:1", b"1"), BusLost)
        self.assertEqual((bus.up, ear.taken()), (False, ["lost"]))
        await self.assertFailure(bus.publish("a:1", b"2"), BusLost)
        await self.assertFailure(bus.subscribers("a:1"), BusLost)
        bus.subscribe(["a:2"])
        await ear.until("back")
        self.assertEqual(ear.taken(), [node_channel("x"), "a:1", "a:2", "back"])
        await bus.publish("a:2", b"3")
        await ear.until(("a:2", b"3"))

    async def test_cut(self) -> None:
        """A cut is heard of at once, even by whoever asks for it while it hears, and mended by itself."""
        bus, ear = await self.connected("a:1")
        ear.when(lambda: ("a:1", b"1") in ear.told).addCallback(lambda _: bus.cut())
        sent, answer = bus.publish("a:1", b"1"), bus.subscribers("a:1")
        await self.assertFailure(answer, BusLost)
        sent.addErrback(lambda failure: failure.trap(BusLost))
        self.assertEqual((bus.up, ear.taken()), (False, [("a:1", b"1"), "lost"]))
        await ear.until("back")
        self.assertEqual((bus.up, ear.taken()), (True, ["a:1", "back"]))

    async def test_asked_for_while_it_is_away(self) -> None:
        """Nothing is kept of channels that came and went meanwhile."""
        bus, ear = await self.connected("a:1")
        bus.cut()
        ear.taken()
        await deferLater(reactor, 0)
        for number in range(100):
            bus.subscribe([f"a:{number}"])
            bus.unsubscribe([f"a:{number}"])
        self.assertEqual(len(bus._unlistened), 0)
        await ear.until("back")
        self.assertEqual(ear.taken(), ["back"])

    async def test_frozen(self) -> None:
        """One whose session stands still is cut, and comes back by another session."""
        bus, ear = await self.connected(node_channel("x"))
        [(pid,)] = psql(
            self.dsn, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s", ["%:n:x"]
        )
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        sent = bus.publish(node_channel("x"), b"1")
        bus.cut()
        await self.assertFailure(sent, BusLost)
        await ear.until("lost", "back")
        await bus.publish(node_channel("x"), b"2")
        await ear.until((node_channel("x"), b"2"))

    async def test_bounded(self) -> None:
        """What waits to be sent has a bound; with more PostgreSQL is as good as gone."""
        self.patch(postgres_bus, "MOST_WAITING", 1_000_000)
        bus, ear = await self.connected("a:1")
        for sent in [bus.publish("a:1", bytes(100_000)) for _ in range(11)]:
            await self.assertFailure(sent, BusLost)
        self.assertEqual(ear.taken(), ["lost"])
        await ear.until("back")

    async def test_cannot_listen(self) -> None:
        """A start says why it cannot listen."""
        error = await self.assertFailure(self.make(f"{self.dsn}&pgbouncer=true").start(Ear()), StartupError)
        self.assertIn("PgBouncer", str(error))
        pooler = SmallPooler(reactor, drops=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(pooler.stop()))
        found = pooler.url(parse_target(self.dsn).parameters["dbname"])
        error = await self.assertFailure(self.make(found).start(Ear()), StartupError)
        self.assertIn("PgBouncer", str(error))
        self.patch(postgres_bus, "START_ATTEMPTS", 1)
        error = await self.assertFailure(self.make(cluster().dsn("missing")).start(Ear()), StartupError)
        self.assertIn('database "missing" does not exist', str(error))
