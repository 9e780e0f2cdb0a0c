"""The bus by Redis, on real servers: the oldest that is promised, and Valkey."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from happy.base.errors import StartupError
from happy.cluster import redis_bus
from happy.cluster.bus import NODES, BusLost, account_channel, node_channel
from happy.cluster.redis_bus import RedisBus
from happy.cluster.redis_url import parse_redis
from tests.base.certificates import Authority
from tests.cluster.ears import Ear
from tests.cluster.names import Nameless
from tests.cluster.redis_server import ANY, INSTALLED, NEWEST, OLDEST, RedisServer

RIGHTS = (
    "-@all +publish +subscribe +unsubscribe +pubsub|numsub +client|setname +info +ping resetchannels &happy:*"
)
"""What docs/several-nodes.md says that the user needs."""
PATIENCE = 20.0


class RedisCase(TestCase):
    """Tests on one server, which runs as long as the class."""

    timeout = 60
    program: ClassVar[str | None] = ANY
    certificates: ClassVar[Path | None] = None
    server: ClassVar[RedisServer]

    @classmethod
    def setUpClass(cls) -> None:
        if cls.program is None:
            raise SkipTest("there is no such server here")
        cls.server = RedisServer(cls.program, cls.certificates)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.stop()

    def make(self, url: str | None = None, **options: Any) -> RedisBus:
        """A bus that is stopped after the test."""
        settings: dict[str, Any] = {"service": "happy", "version": 1, "name": "n1", **options}
        bus = RedisBus(reactor, parse_redis(url or self.server.url), **settings)
        self.addCleanup(bus.stop)
        return bus

    async def connected(self, *channels: str, **options: Any) -> tuple[RedisBus, Ear]:
        """A bus that is up and listens to some channels."""
        bus, ear = self.make(**options), Ear()
        bus.subscribe(channels)
        await bus.start(ear).addTimeout(PATIENCE, reactor)
        self.assertTrue(bus.up)
        self.assertEqual(set(ear.taken()), {*channels, "back"})
        return bus, ear

    async def refusal(self, url: str) -> str:
        """What a start says that fails."""
        error = await self.assertFailure(self.make(url).start(Ear()), StartupError)
        return str(error)


class ServingTests:
    """What is expected of every server."""

    async def test_hearing(self: Any) -> None:
        """Who subscribed hears every byte in order, the sender too, who is told how many they are."""
        channel, payloads = account_channel("x"), [b"\x00\xff\r\n", b"", b"1" * 300_000, b"2"]
        one, first = await self.connected(channel)
        _, second = await self.connected(channel, NODES)
        sent = await gatherResults([one.publish(channel, payload) for payload in payloads])
        await one.publish(NODES, b"beat")
        expected = [(channel, payload) for payload in payloads]
        await first.until(*expected)
        await second.until((NODES, b"beat"))
        self.assertEqual(sent, [2, 2, 2, 2])
        self.assertEqual(first.told, expected)
        self.assertEqual(second.told, [*expected, (NODES, b"beat")])

    async def test_apart(self: Any) -> None:
        """Other versions hear only that a node lives; other databases and services hear nothing."""
        channel = node_channel("x")
        one, first = await self.connected(channel, NODES)
        _, newer = await self.connected(channel, NODES, version=2)
        _, other = await self.connected(channel, NODES, url=f"{self.server.url}/1")
        _, another = await self.connected(channel, NODES, service="happy:staging")
        self.assertEqual(await one.publish(channel, b"1"), 1)
        self.assertEqual(await one.publish(NODES, b"2"), 2)
        await newer.until((NODES, b"2"))
        await first.until((channel, b"1"), (NODES, b"2"))
        self.assertEqual(newer.told, [(NODES, b"2")])
        self.assertEqual(other.told + another.told, [])

    async def test_many_channels(self: Any) -> None:
        """More channels than fit into a chunk are confirmed, counted, and given up again."""
        channels = [account_channel(str(number)) for number in range(1200)]
        bus, ear = await self.connected()
        bus.subscribe(channels)
        await ear.until(channels[-1])
        self.assertEqual(ear.taken(), channels)
        self.assertEqual(await bus.subscribers(channels[-1]), 1)
        bus.unsubscribe(channels[1:])
        bus.subscribe(["a:later"])
        await ear.until("a:later")
        self.assertEqual(await bus.subscribers(channels[-1]), 0)
        self.assertEqual(await bus.publish(channels[0], b""), 1)

    async def test_killed(self: Any) -> None:
        """When Redis dies, what was under way fails; when it is back, everything is heard again."""
        bus, ear = await self.connected("a:1", "a:2")
        self.server.kill()
        under_way = bus.publish("a:1", b"1")
        await self.assertFailure(under_way, BusLost)
        self.assertEqual((bus.up, ear.taken()), (False, ["lost"]))
        await self.assertFailure(bus.publish("a:1", b"2"), BusLost)
        await self.assertFailure(bus.subscribers("a:1"), BusLost)
        bus.subscribe(["a:3"])
        bus.unsubscribe(["a:2"])
        self.server.start()
        await ear.until("back")
        self.assertEqual(ear.taken(), ["a:1", "a:3", "back"])
        self.assertEqual(await bus.publish("a:1", b"3"), 1)

    async def test_cut(self: Any) -> None:
        """A cut is heard of at once, and mended by itself."""
        bus, ear = await self.connected("a:1")
        bus.cut()
        self.assertEqual((bus.up, ear.taken()), (False, ["lost"]))
        await ear.until("back")
        self.assertEqual((bus.up, ear.taken()), (True, ["a:1", "back"]))

    async def test_one_way_only(self: Any) -> None:
        """A bus that cannot listen is down, although it could speak."""
        bus, ear = await self.connected("a:1")
        self.server.ask("CLIENT KILL TYPE pubsub")
        await ear.until("lost")
        self.assertFalse(bus.up)
        await ear.until("a:1", "back")

    async def test_rights(self: Any) -> None:
        """The documented rights are enough."""
        self.server.ask("ACL SETUSER", "node", "on", ">pass word%".replace(" ", "_"), RIGHTS)
        url = self.server.url.replace("//", "//node:pass_word%25@")
        bus, _ = await self.connected(NODES, "a:1", url=url)
        self.assertEqual(await bus.publish("a:1", b"1"), 1)
        self.assertEqual(await bus.subscribers("a:1"), 1)

    async def test_missing_rights(self: Any) -> None:
        """A start that lacks a right or the password says so; it does not wait, and tells no secret."""
        for rights in (RIGHTS.replace("+publish", ""), RIGHTS.replace("&happy:*", "&other:*")):
            self.server.ask("ACL SETUSER", "poor", "reset", "on", ">word", rights)
            said = await self.refusal(self.server.url.replace("//", "//poor:word@"))
            self.assertIn("may not do what is needed", said)
        said = await self.refusal(self.server.url.replace("//", "//poor:wrong@"))
        self.assertEqual(
            said, f"redis-url: {self.server.url} cannot be used: it does not take the user and password"
        )

    async def test_frozen(self: Any) -> None:
        """What a Redis that stands still is sent has a bound; with more it is as good as gone."""
        self.patch(redis_bus, "MOST_UNANSWERED", 1_000_000)
        bus, ear = await self.connected("a:1")
        self.server.send(signal.SIGSTOP)
        try:
            sent = [bus.publish("a:1", bytes(100_000)) for _ in range(10)]
            for one in sent:
                await self.assertFailure(one, BusLost)
            self.assertEqual(ear.taken(), ["lost"])
        finally:
            self.server.send(signal.SIGCONT)
        await ear.until("back")
        self.assertEqual(await bus.publish("a:1", b"1"), 1)

    async def test_frozen_at_the_end(self: Any) -> None:
        """A stop does not wait until a Redis that stands still has read everything."""
        bus, _ = await self.connected("a:1")
        self.server.send(signal.SIGSTOP)
        try:
            sent = [bus.publish("a:1", bytes(1_000_000)) for _ in range(20)]
            await bus.stop().addTimeout(PATIENCE, reactor)
            for one in sent:
                await self.assertFailure(one, BusLost)
        finally:
            self.server.send(signal.SIGCONT)

    async def test_a_slow_subscriber(self: Any) -> None:
        """Redis drops one that has too much to read: that is as any loss, and mended."""
        self.server.ask("CONFIG SET client-output-buffer-limit", '"pubsub 100kb 0 0"')
        bus, ear = await self.connected("a:1")
        other, _ = await self.connected()
        bus._listening.transport.pauseProducing()
        while await other.publish("a:1", bytes(1_000_000)):
            pass
        bus._listening.transport.resumeProducing()
        await ear.until("lost", "back")
        self.server.ask("CONFIG SET client-output-buffer-limit", '"pubsub 32mb 8mb 60"')
        self.assertEqual(await other.publish("a:1", b"1"), 1)

    async def test_a_replica(self: Any) -> None:
        """What is published at a replica the others do not hear, so it is no bus."""
        self.server.ask("REPLICAOF 127.0.0.1 1")
        try:
            self.assertIn("it is a replica", await self.refusal(self.server.url))
        finally:
            self.server.ask("REPLICAOF NO ONE")

    async def test_coming_and_going(self: Any) -> None:
        """One that is never up for long is tried less and less often."""
        self.patch(redis_bus.random, "uniform", lambda least, most: most)
        bus, ear = await self.connected("a:1")
        pauses = [bus._pause(0)]
        for _ in range(3):
            self.server.ask("CLIENT KILL TYPE pubsub")
            await ear.until("lost", "back")
            ear.taken()
            pauses.append(bus._pause(0))
        self.assertEqual(pauses, [0.1, 0.2, 0.4, 0.8])
        self.patch(redis_bus, "STEADY_SECONDS", 0.0)
        self.server.ask("CLIENT KILL TYPE pubsub")
        await ear.until("lost", "back")
        self.assertEqual(bus._pause(0), 0.1)

    async def test_asked_for_while_it_is_away(self: Any) -> None:
        """Nothing is kept of channels that came and went meanwhile."""
        bus, ear = await self.connected("a:1")
        bus.cut()
        for number in range(100):
            bus.subscribe([f"a:{number}"])
            bus.unsubscribe([f"a:{number}"])
        self.assertEqual(len(bus._subscriptions._changed), 0)
        await ear.until("back")
        self.assertEqual(ear.taken(), ["lost", "back"])


class OldestTests(ServingTests, RedisCase):
    program = OLDEST


class NewestTests(ServingTests, RedisCase):
    program = NEWEST


class PlaceTests(RedisCase):
    """Where a Redis can be, and what is said when it is not there."""

    async def test_socket(self) -> None:
        """A UNIX socket will do."""
        bus, _ = await self.connected("a:1", url=f"unix://{self.server.path}?db=3")
        self.assertEqual(await bus.publish("a:1", b"1"), 1)

    async def test_password_that_is_not_wanted(self) -> None:
        """A password where there is none is refused, rather than waited with."""
        self.assertIn("user and password", await self.refusal(self.server.url.replace("//", "//:pw@")))

    async def test_nobody_there(self) -> None:
        """A start waits for a Redis for a while, and then says what is wrong, without the password."""
        self.patch(redis_bus, "START_SECONDS", 0.5)
        said = await self.refusal("redis://user:secret@127.0.0.1:1/0")
        self.assertIn("redis-url: redis://127.0.0.1:1 cannot be used: ", said)
        self.assertIn("refused", said)
        self.assertIn("No such file", await self.refusal("unix:///nowhere/at/all"))

    async def test_no_such_name(self) -> None:
        """A host that has no address is waited for a little; then the address is wrong."""
        self.patch(redis_bus, "NAME_SECONDS", 0.2)
        for host in ("redis.invalid", "a..b"):
            said = await self.refusal(f"redis://:secret@{host}")
            self.assertEqual(said, f"redis-url: redis://{host}:6379 cannot be used: its host has no address")

    async def test_a_name_that_comes(self) -> None:
        """One that gets its address meanwhile is used."""
        missing = Nameless(self, 2)
        bus, _ = await self.connected(url=self.server.url.replace("127.0.0.1", "redis.invalid"))
        self.assertEqual((missing.left, bus.up), (0, True))

    async def test_left_over(self) -> None:
        """Without the address of what nobody may need, a start goes on; it is used once there is one."""
        Nameless(self, 2)
        bus, ear = self.make(self.server.url.replace("127.0.0.1", "redis"), dispensable=True), Ear()
        await bus.start(ear).addTimeout(PATIENCE, reactor)
        self.assertEqual((bus.up, ear.told), (False, []))
        await ear.until("back")
        self.assertTrue(bus.up)

    async def test_there_later(self) -> None:
        """A Redis that starts after the server is waited for."""
        self.server.kill()
        bus, ear = self.make(), Ear()
        starting = bus.start(ear)
        self.server.start()
        await starting.addTimeout(PATIENCE, reactor)
        self.assertEqual(ear.taken(), ["back"])

    async def test_away_when_another_takes_the_place(self) -> None:
        """Who replaces a node that has served does not need it to begin, and hears when it is there."""
        self.server.kill()
        bus, ear = self.make(replaces=True), Ear()
        await bus.start(ear).addTimeout(PATIENCE, reactor)
        self.assertEqual((bus.up, ear.told), (False, []))
        self.server.start()
        await ear.until("back")
        self.assertTrue(bus.up)

    async def test_refused_when_another_takes_the_place(self) -> None:
        """So it is with one that lets nobody in by now."""
        bus = self.make(self.server.url.replace("//", "//:pw@"), replaces=True)
        await bus.start(Ear()).addTimeout(PATIENCE, reactor)
        self.assertFalse(bus.up)

    async def test_stopped_while_it_starts(self) -> None:
        """A start that is cancelled leaves nothing behind."""
        starting = self.make("redis://127.0.0.1:1").start(Ear())
        starting.cancel()
        await self.assertFailure(starting, Exception)

    async def test_something_else(self) -> None:
        """Whatever answers in another language is not taken for a Redis."""

        class Web(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        port = reactor.listenTCP(0, Factory.forProtocol(Web), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.patch(redis_bus, "START_SECONDS", 0.5)
        self.assertIn("as Redis does", await self.refusal(f"redis://127.0.0.1:{port.getHost().port}"))


class TLSTests(RedisCase):
    """Redis by TLS, which a server must have been built for."""

    program = INSTALLED

    @classmethod
    def setUpClass(cls) -> None:
        cls.certificates = Path(tempfile.mkdtemp(prefix="happy-certificates-"))
        cls.addClassCleanup(shutil.rmtree, cls.certificates)
        Authority(cls.certificates)
        super().setUpClass()

    def url(self, **query: object) -> str:
        """The server's address."""
        return f"rediss://127.0.0.1:{self.server.port}/0?{urlencode(query)}"

    async def test_trusted(self) -> None:
        """A server whose authority is named is talked to."""
        url = self.url(ssl_ca_certs=self.certificates / "root.pem")
        bus, _ = await self.connected("a:1", url=url)
        self.assertEqual(await bus.publish("a:1", b"1"), 1)

    async def test_not_trusted(self) -> None:
        """A server that the system does not know is not told any password."""
        self.patch(redis_bus, "START_SECONDS", 0.5)
        self.assertIn("TLS: certificate verify failed", await self.refusal(self.url()))

    async def test_no_certificates(self) -> None:
        """A file that is missing, or holds no certificate, is named."""
        damaged = self.certificates / "damaged.pem"
        damaged.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        for name in ("missing", "key.pem", "damaged.pem"):
            file = self.certificates / name
            said = await self.refusal(self.url(ssl_ca_certs=file))
            self.assertRegex(said, f"^redis-url: it must name a file of certificates: .*{file}")

    async def test_no_name_for_a_certificate(self) -> None:
        """A host that no certificate can be for is named."""
        said = await self.refusal("rediss://a_b")
        self.assertEqual(said, "redis-url: it must name a host that a certificate can be for: a_b")
