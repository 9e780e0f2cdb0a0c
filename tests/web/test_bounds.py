"""What a site has room for: connections, and bytes of bodies."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.budget import Budget
from happy.capabilities._declare import Capability
from happy.server import Server
from happy.web.site import HappySite
from happy.wire.structs import Body
from tests.toys import toy_server
from tests.web.talking import Connection, Served, message

BUSY = {"error": "Service Unavailable", "message": "The server is busy, try again", "statusCode": 503}

toys = Capability("toys")


class Toy(Body):
    name: str


@toys.post("/wait", public=True)
async def wait(server: Server, body: Toy) -> int:
    """Answer the length of a name, once the gate is open."""
    await server.hub  # type: ignore[misc]
    return len(body.name)


def toy(size: int) -> bytes:
    """A body of so many bytes."""
    return b'{"name":"%s"}' % (b"x" * (size - 11))


class ConnectionTests(SynchronousTestCase):
    """As many connections as there are descriptors for."""

    def setUp(self) -> None:
        served = Served(toy_server(), [toys])
        self.clock = served.clock
        self.refused = 0
        self.site = HappySite(served.router, None, served.clock, room=2, refused=self.count)

    def count(self) -> None:
        self.refused += 1

    def connect(self) -> Connection:
        return Connection(self.site)

    def test_no_room(self) -> None:
        """A connection for which there is no room is cut at once, and counted."""
        connections = [self.connect() for _ in range(3)]
        self.assertEqual([one.wire.aborted for one in connections], [False, False, True])
        self.assertEqual(self.refused, 1)

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


class BodyTests(SynchronousTestCase):
    """As many bytes of bodies as there is memory and disk for."""

    def setUp(self) -> None:
        self.gate: Deferred[None] = Deferred()
        self.served = Served(toy_server(hub=self.gate), [toys])
        self.bodies = self.served.site.bodies = Budget(1000)

    def begin(self, size: int) -> Connection:
        """A request of whose body so many bytes have come; there are to be 900."""
        connection = self.served.connect()
        request = message("POST", "/wait", toy(900))
        connection.send(request[: len(request) - 900 + size])
        return connection

    def test_full(self) -> None:
        """A body that finds no room is refused as soon as it does not fit; the others go on."""
        first, second = self.begin(600), self.begin(300)
        self.assertEqual(second.wire.value(), b"")
        second.send(b"x" * 200)
        [reply] = second.read("POST")
        self.assertEqual((reply.status, reply.json), (503, BUSY))
        self.assertTrue(second.closing)
        self.assertFalse(first.closing)

    def test_held_until_answered(self) -> None:
        """A body counts until its request is answered, though its client may have left."""
        connection = self.served.connect()
        connection.send(message("POST", "/wait", toy(900)))
        connection.lose()
        self.assertEqual(self.bodies.used, 900)
        self.gate.callback(None)
        self.assertEqual(self.bodies.used, 0)

    def test_given_back(self) -> None:
        """What answered, refused and lost requests had is free again."""
        self.gate.callback(None)
        for length in ({}, {"content-length": "", "transfer-encoding": "chunked"}):
            half, late = self.begin(600), self.begin(600)
            late.read("POST")
            half.lose()
            late.lose()
            connection = self.served.connect()
            body = b"14\r\n" + toy(20) + b"\r\n0\r\n\r\n" if length else toy(20)
            connection.send(message("POST", "/wait", body, length))
            self.assertEqual(connection.read("POST")[0].json, 9)
            self.assertEqual(self.bodies.used, 0)
