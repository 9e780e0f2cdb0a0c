"""What a site has room for, and who gets it: connections, and bytes of requests and bodies."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.api.declare import MIB, Caller, Capability
from happy.api.structs import Body
from happy.base.bounds import Budget
from happy.base.errors import Overloaded
from happy.capabilities.server import Server
from happy.web.bodies import (
    CONNECTION_BYTES,
    PATIENCE,
    SMALL,
    SPOOL_SIZE,
    DecodingRoom,
    Keep,
    LargeBody,
    LargeWork,
)
from happy.web.site import HappySite
from tests.socketio.peers import TurningClock
from tests.toys import toy_server
from tests.web.talking import Connection, Served, message

BUSY = {"error": "Service Unavailable", "message": "The server is busy, try again", "statusCode": 503}
ANN, BOB = ({"Authorization": f"Bearer a.token.of-{name}"} for name in ("ann", "bob"))
CHUNKED = {"content-length": "", "transfer-encoding": "chunked"}

toys = Capability("toys")


class Toy(Body):
    name: str


@toys.post("/wait", public=True)
async def wait(server: Server, body: Toy) -> int:
    """Answer the length of a name, once the gate is open."""
    await server.hub  # type: ignore[misc]
    return len(body.name)


@toys.post("/keep", limit=10 * MIB)
async def keep(server: Server, caller: Caller, body: Toy) -> int:
    """The same for much, once it is known whose it is."""
    await server.hub  # type: ignore[misc]
    return len(body.name)


def toy(size: int) -> bytes:
    """A body of so many bytes."""
    return b'{"name":"%s"}' % (b"x" * (size - 11))


class ConnectionTests(SynchronousTestCase):
    """As many connections as there are descriptors for, half of them for one address."""

    def setUp(self) -> None:
        served = Served(toy_server(), [toys])
        self.clock = served.clock
        self.refused = 0
        self.site = HappySite(served.router, None, served.clock, room=4, refused=self.count)

    def count(self) -> None:
        self.refused += 1

    def connect(self, peer: str = "203.0.113.7") -> Connection:
        return Connection(self.site, peer)

    def aborted(self, connections: list[Connection]) -> list[bool]:
        return [one.wire.aborted for one in connections]

    def test_share(self) -> None:
        """A connection beyond its address's half is cut at once, and counted; others have theirs."""
        self.assertEqual(self.aborted([self.connect() for _ in range(3)]), [False, False, True])
        self.assertEqual(self.refused, 1)
        self.assertFalse(self.connect("198.51.100.1").wire.aborted)

    def test_crowd(self) -> None:
        """When all places are taken, whoever has most loses the one that was not used for longest."""
        first, second = self.connect(), self.connect()
        others = [self.connect("198.51.100.1"), self.connect("198.51.100.2")]
        first.send(message("GET", "/nowhere"))
        last = self.connect("198.51.100.3")
        self.assertEqual(self.aborted([first, second, *others, last]), [False, True, False, False, False])
        second.lose()
        self.assertEqual(len(self.site.places), 4)

    def test_networks(self) -> None:
        """All addresses of an IPv6 network are one."""
        hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]
        self.assertEqual(self.aborted([self.connect(host) for host in hosts]), [False, False, True, False])

    def test_proxies(self) -> None:
        """Who speaks for others may have all the places."""
        for _ in range(4):
            channel = self.site.buildProtocol(UNIXAddress(b"/run/happy.sock"))
            self.assertIsInstance(channel, self.site.protocol)

    def test_said_once_a_minute(self) -> None:
        """However many are refused, the log says so once a minute."""
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for _ in range(10):
            self.connect()
        self.assertEqual(len(logged), 1)
        self.clock.advance(60)
        self.connect()
        self.assertEqual(len(logged), 2)

    def test_room_again(self) -> None:
        """The place of a connection that is gone is another one's."""
        connections = [self.connect(), self.connect()]
        connections[0].lose()
        self.assertFalse(self.connect().wire.aborted)
        self.assertTrue(self.connect().wire.aborted)


WHOLE = SMALL + 900
"""The bytes of a body that counts."""


class BodyCase(SynchronousTestCase):
    """Requests whose bodies come, or wait for an answer."""

    def setUp(self) -> None:
        self.gate: Deferred[None] = Deferred()
        self.use(Budget(256 * MIB))

    def use(self, memory: Budget) -> None:
        """Serve with so much memory."""
        self.memory = memory
        self.served = Served(toy_server(hub=self.gate, memory=memory), [toys])

    def begin(self, size: int, peer: str = "203.0.113.7", path: str = "/wait", **options: Any) -> Connection:
        """A request of whose body so many bytes have come; there are to be :data:`WHOLE`, or ``whole``."""
        whole = options.get("whole", WHOLE)
        connection = self.served.connect(peer=peer)
        request = message("POST", path, toy(whole), options.get("headers"))
        connection.send(request[: len(request) - whole + size])
        return connection


class MemoryTests(BodyCase):
    """Small bodies."""

    def setUp(self) -> None:
        super().setUp()
        self.use(Budget(3 * CONNECTION_BYTES + 2 * WHOLE, share=2 * CONNECTION_BYTES + WHOLE))

    def test_share(self) -> None:
        """A body beyond its address's share is refused as soon as it does not fit; the others go on."""
        first, second = self.begin(WHOLE - 1), self.begin(SMALL)
        self.assertEqual(second.wire.value(), b"")
        second.send(b"x")
        [reply] = second.read("POST")
        self.assertEqual((reply.status, reply.json), (503, BUSY))
        self.assertTrue(second.closing)
        self.assertFalse(first.closing)

    def test_connections(self) -> None:
        """A connection beyond its address's share is cut at once."""
        connections = [self.served.connect() for _ in range(3)]
        self.begin(WHOLE - 1)
        connections.append(self.served.connect())
        self.assertEqual([one.wire.aborted for one in connections], [False, False, True, True])

    def test_crowd(self) -> None:
        """Whoever has most loses it to others, and hears so."""
        first, second = self.begin(WHOLE - 1), self.begin(WHOLE - 300, "198.51.100.1")
        third = self.begin(WHOLE - 300, "198.51.100.2")
        self.assertEqual((first.wire.value(), second.wire.value()), (b"", b""))
        self.served.clock.advance(0)
        [reply] = first.read("POST")
        self.assertEqual((reply.status, reply.json), (503, BUSY))
        self.assertEqual((second.closing, third.closing), (False, False))
        first.lose()
        self.assertEqual(self.memory.used, 2 * (CONNECTION_BYTES + WHOLE - 300))

    def test_crowd_of_complete_requests(self) -> None:
        """A request that is worked on is not answered then; its work goes on."""
        first = self.begin(WHOLE)
        for peer in ("198.51.100.1", "198.51.100.2"):
            self.begin(WHOLE - 300, peer)
        self.served.clock.advance(0)
        self.assertTrue(first.wire.aborted)
        first.lose()
        self.gate.callback(None)
        self.assertEqual(self.memory.used, 2 * (CONNECTION_BYTES + WHOLE - 300))

    def test_held_until_answered(self) -> None:
        """A body counts until its request is answered, though its client may have left."""
        connection = self.begin(WHOLE)
        connection.lose()
        self.assertEqual(self.memory.used, CONNECTION_BYTES + WHOLE)
        self.gate.callback(None)
        self.assertEqual(self.memory.used, 0)
        self.assertEqual(self.memory._owners, {})

    def test_given_back(self) -> None:
        """What answered, refused and lost requests had is free again."""
        self.gate.callback(None)
        for headers in ({}, CHUNKED):
            half, late = self.begin(WHOLE - 1), self.begin(WHOLE - 1)
            late.read("POST")
            half.lose()
            late.lose()
            connection = self.served.connect()
            body = b"14\r\n" + toy(20) + b"\r\n0\r\n\r\n" if headers else toy(20)
            connection.send(message("POST", "/wait", body, headers))
            self.assertEqual(connection.read("POST")[0].json, 9)
            connection.lose()
            self.assertEqual(self.memory.used, 0)


class DiskTests(BodyCase):
    """Large bodies."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.served.site.disk = Budget(4 * MIB)

    def test_on_disk(self) -> None:
        """A body above 100 KiB counts as disk, and in memory no more."""
        self.begin(500_000, whole=600_000)
        self.assertEqual((self.disk.used, self.memory.used), (500_000, CONNECTION_BYTES))

    def test_chunked(self) -> None:
        """One of unknown length moves there when it has become large."""
        connection = self.served.connect()
        connection.send(message("POST", "/wait", b"", CHUNKED))
        for size in (90_000, 90_000):
            self.assertEqual(self.disk.used, 0)
            connection.send(b"%x\r\n" % size + b" " * size + b"\r\n")
        self.assertEqual((self.disk.used, self.memory.used), (180_000, CONNECTION_BYTES))
        connection.lose()
        self.assertEqual((self.disk.used, self.memory.used), (0, 0))

    def test_accounts(self) -> None:
        """What only a caller may send, its account pays for, from whatever address."""
        for peer, headers in (("203.0.113.7", ANN), ("203.0.113.7", BOB), ("198.51.100.1", ANN)):
            self.begin(MIB, peer, "/keep", headers=headers, whole=3 * MIB)
        self.assertEqual([self.disk.used_by(f"account:{name}") for name in ("ann", "bob")], [2 * MIB, MIB])

    def test_crowd(self) -> None:
        """The largest owner's largest body is forgotten when others need the room."""
        ann = self.begin(2 * MIB, path="/keep", headers=ANN, whole=3 * MIB)
        bob = self.begin(MIB, path="/keep", headers=BOB, whole=3 * MIB)
        for number in range(2):
            self.begin(700_000, f"198.51.100.{number}", whole=800_000)
        self.served.clock.advance(0)
        [reply] = ann.read("POST")
        self.assertEqual((reply.status, bob.closing), (503, False))
        self.assertEqual(self.disk.used_by("account:ann"), 0)
        ann.lose()

    def test_no_disk(self) -> None:
        """A disk that is full refuses one body, and the log says so once."""
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for _ in range(3):
            connection = self.begin(1, whole=600_000)
            connection.channel.requests[0].content.write = self.fail_to_write
            connection.send(b"x" * 1000)
            self.assertEqual(connection.read("POST")[0].status, 503)
        self.assertEqual(len(logged), 1)
        self.assertIn("OSError", str(logged))

    def fail_to_write(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")


class LargeWorkTests(SynchronousTestCase):
    """Room for what large bodies are decoded to."""

    def setUp(self) -> None:
        self.clock = TurningClock()
        self.work = LargeWork(100, self.clock)

    def enter(self, owner: str, size: int) -> Deferred[DecodingRoom]:
        return Deferred.fromCoroutine(self.work.enter(owner, size))

    def leave(self, room: DecodingRoom) -> None:
        """Give room back; the next turn comes."""
        self.work.leave(room)
        self.clock.advance(0)

    def test_owners_take_turns(self) -> None:
        """Who sends many waits for itself."""
        room = self.successResultOf(self.enter("a", 100))
        first, second = self.enter("a", 100), self.enter("a", 100)
        other = self.enter("b", 100)
        self.assertNoResult(first)
        for due in (first, other, second):
            self.leave(room)
            room = self.successResultOf(due)

    def test_half(self) -> None:
        """Who has half of the room, or more with a single body, leaves the rest to others."""
        rooms = [self.successResultOf(self.enter("a", 25)) for _ in range(2)]
        more = self.enter("a", 1)
        self.successResultOf(self.enter("b", 20))
        self.successResultOf(self.enter("c", 30))
        self.assertNoResult(more)
        self.leave(rooms.pop())
        self.successResultOf(more)

    def test_larger_than_all(self) -> None:
        """What would never fit has everything for itself."""
        room = self.successResultOf(self.enter("a", 60))
        large, small = self.enter("b", 1000), self.enter("a", 10)
        self.leave(room)
        room = self.successResultOf(large)
        self.assertNoResult(small)
        self.leave(room)
        self.successResultOf(small)

    def test_one_in_a_turn(self) -> None:
        """Who is given room has work to do, and does it in a turn of its own."""
        room = self.successResultOf(self.enter("a", 100))
        waiting = [self.enter(owner, 30) for owner in "bcd"]
        self.work.leave(room)
        for turn, due in enumerate(waiting, start=1):
            self.assertNoResult(due)
            self.clock.advance(0)
            self.assertEqual([one.called for one in waiting].count(True), turn)
            self.successResultOf(due)

    def test_patience(self) -> None:
        """Nobody waits for ever, and nobody behind who gave up either."""
        self.successResultOf(self.enter("a", 60))
        large = self.enter("b", 50)
        self.clock.advance(PATIENCE / 2)
        small = self.enter("c", 30)
        self.clock.advance(PATIENCE / 2)
        self.failureResultOf(large, Overloaded)
        self.successResultOf(small)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Who does not wait any more gets no room, and nobody waits behind it."""
        room = self.successResultOf(self.enter("a", 60))
        large, small = self.enter("b", 50), self.enter("c", 30)
        large.cancel()
        self.failureResultOf(large, CancelledError)
        self.clock.advance(0)
        self.successResultOf(small)
        self.leave(room)
        self.successResultOf(self.enter("b", 50))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LargeBodyTests(SynchronousTestCase):
    """A body in a file."""

    def test_ends_elsewhere(self) -> None:
        """What was in a file is thrown away elsewhere; what was not, or is closed already, is no matter."""
        ended: list[tuple[str, Callable[[], None]]] = []
        budgets = Budget(2**20), Budget(2**20)
        keep = Keep(*budgets, "a", SimpleNamespace(), lambda owner, call: ended.append((owner, call)))
        for size, ends in ((10, 0), (SPOOL_SIZE + 1, 1)):
            body = LargeBody(keep)
            self.assertTrue(body.hold(size))
            body.write(bytes(size))
            body.close()
            body.close()
            self.assertTrue(body.closed)
            self.assertEqual((len(ended), budgets[1].used), (ends, 0))
        ((owner, end),) = ended
        end()
        self.assertEqual(owner, "a")
        with self.assertRaises(OSError):
            end()
