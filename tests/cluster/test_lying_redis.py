"""What answers as Redis does for a while, and then does not."""

from __future__ import annotations

from typing import Any

from hiredis import Reader
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from happy.cluster import redis_bus
from happy.cluster.redis_bus import RedisBus
from happy.cluster.redis_url import parse_redis
from tests.cluster.ears import Ear

PATIENCE = 20.0
GREETINGS = {
    b"CLIENT": b"+OK\r\n",
    b"INFO": b"$11\r\nrole:master\r\n",
    b"PUBLISH": b":1\r\n",
    b"PUBSUB": b"*2\r\n$1\r\nx\r\n:1\r\n",
}


class _Liar(Protocol):
    """Greets as it should; the first subscription after that it answers with what its factory has for it."""

    factory: Any

    def connectionMade(self) -> None:
        self._commands = Reader()

    def dataReceived(self, data: bytes) -> None:
        self._commands.feed(data)
        while (command := self._commands.gets()) is not False:
            self._answer(*command)

    def _answer(self, name: bytes, *words: bytes) -> None:
        if words == (b"cluster",):
            self.transport.write(self.factory.cluster)
        elif name in GREETINGS:
            self.transport.write(GREETINGS[name])
        elif words[0].endswith(b"trial") or not self.factory.lies:
            for word in words:
                kind = name.lower()
                self.transport.write(b"*3\r\n$%d\r\n%b\r\n" % (len(kind), kind))
                self.transport.write(b"$%d\r\n%b\r\n:1\r\n" % (len(word), word))
        else:
            self.transport.write(self.factory.lies.pop())


class LyingRedisTests(TestCase):
    """A bus is up once it is told the truth."""

    timeout = 60

    async def lied_to(
        self, *lies: bytes, cluster: bytes = b"$17\r\ncluster_enabled:0\r\n"
    ) -> tuple[RedisBus, Ear]:
        """A bus that was told all of this before it was up."""
        factory = Factory.forProtocol(_Liar)
        factory.lies, factory.cluster = list(lies), cluster
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = parse_redis(f"redis://127.0.0.1:{port.getHost().port}")
        bus, ear = RedisBus(reactor, url, service="happy", version=1, name="n1"), Ear()
        self.addCleanup(bus.stop)
        bus.subscribe(["a:1"])
        await bus.start(ear).addTimeout(PATIENCE, reactor)
        self.assertEqual((factory.lies, ear.told), ([], ["a:1", "back"]))
        return bus, ear

    async def test_a_cluster(self) -> None:
        """It is used, the operator is told once what that means, and how many hear is unknown."""
        with capturedLogs() as events:
            bus, ear = await self.lied_to(cluster=b"$17\r\ncluster_enabled:1\r\n")
            ear.taken()
            bus.cut()
            await ear.until("lost", "back")
        said = [text for event in events if "Redis Cluster" in (text := formatEvent(event))]
        self.assertEqual(len(said), 1)
        self.assertIsNone(await bus.publish("a:1", b"1"))

    async def test_silence(self) -> None:
        """One that confirms nothing is left, and tried again."""
        self.patch(redis_bus, "CONFIRM_SECONDS", 0.1)
        await self.lied_to(b"")

    async def test_nonsense(self) -> None:
        """So is one that says what it should not, and nothing of it is heard."""
        lies = (b"*0\r\n", b":1\r\n", b"*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n", b"*-1\r\n", b"-ERR lie\r\n")
        self.patch(redis_bus, "_LONGEST_PAUSE", 0.05)
        await self.lied_to(*lies)

    async def test_an_answer_that_nobody_asked_for(self) -> None:
        """On the connection that speaks it ends that connection: from then on no answer could be trusted."""
        bus, ear = await self.lied_to()
        speaking = bus._speaking
        speaking.dataReceived(b":1\r\n")
        await ear.until("lost", "back")
        self.assertIsNot(bus._speaking, speaking)

    async def test_channels_of_nobody(self) -> None:
        """A confirmation of what was not asked for changes nothing."""
        self.patch(redis_bus, "CONFIRM_SECONDS", 0.1)
        await self.lied_to(b"*3\r\n$9\r\nsubscribe\r\n$2\r\n\xff\xfe\r\n:1\r\n")
