"""Answers in pieces on a connection: who pays, who waits, and how they end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from happy.api.answers import Allowance, Answer
from happy.api.declare import MIB, Caller, Capability
from happy.api.structs import Body
from happy.base.bounds import Budget
from happy.base.errors import ChangedMeanwhile, Overloaded
from happy.web import site
from happy.web.sending import AT_ONCE
from tests.toys import toy_server
from tests.web.talking import Connection, Served, message

LARGE = 1_000_000
ANN = {"Authorization": "Bearer a.token.of-ann"}
OWNER = "account:ann"
ADDRESS = "address:203.0.113.7"

toys = Capability("toys")


class Much(Body):
    """A large body."""

    text: str


class Slow:
    """Pieces that a test gives by hand; ``closed`` when no more are wanted."""

    length: int | None = None

    def __init__(self) -> None:
        self.asked: list[Deferred[bytes]] = []
        self.closed = False

    async def read(self, allowance: Allowance) -> bytes:
        self.asked.append(Deferred())
        piece = await self.asked[-1]
        if not allowance.take(len(piece)):
            raise Overloaded
        return piece

    def close(self) -> None:
        self.closed = True


@toys.get("/large")
async def large(caller: Caller) -> str:
    """Much at once."""
    return "x" * (LARGE - 2)


@toys.get("/public", public=True)
async def public() -> str:
    """Much for anybody."""
    return "x" * (LARGE - 2)


@toys.post("/much", limit=10 * MIB)
async def much(caller: Caller, body: Much) -> str:
    """Much for much."""
    return "x" * (LARGE - 2)


@toys.get("/medium")
async def medium(caller: Caller) -> str:
    """As much as goes at once."""
    return "x" * (AT_ONCE - 2)


@toys.get("/slow")
async def slow(server: Any, caller: Caller) -> Any:
    """Pieces by and by."""
    return server.hub


class StreamCase(SynchronousTestCase):
    """A site with a small budget, of which connections by themselves take nothing."""

    def setUp(self) -> None:
        self.patch(site, "CONNECTION_BYTES", 0)
        self.memory = Budget(4 * LARGE, share=2 * LARGE)
        self.pieces = Slow()
        self.server = toy_server(memory=self.memory, hub=self.pieces)
        self.served = Served(self.server, [toys])
        # What a handler returns is an answer already: what is in pieces comes from elsewhere.
        self.patch(
            self.served.router, "_answer_safely", self.answer_safely(self.served.router._answer_safely)
        )

    def answer_safely(self, original: Any) -> Any:
        async def answer(request: Any, target: Any) -> Any:
            if target.path == b"/slow":
                return Answer(content=self.pieces, account="ann")
            return await original(request, target)

        return answer

    def ask(self, target: str, *, version: str = "1.1", method: str = "GET", room: int = 5000) -> Connection:
        """A connection that has asked, and reads only what it takes."""
        connection = self.served.connect()
        connection.wire.room = room
        connection.send(message(method, target, None, ANN, version=version))
        return connection

    def give(self, piece: bytes) -> None:
        """The piece that is waited for."""
        self.pieces.asked[-1].callback(piece)

    def rest(self, connection: Connection) -> bytes:
        """What the client reads when it reads all there is."""
        data = b""
        while part := connection.wire.take():
            data += part
            self.served.clock.advance(0)
        return data


class PayingTests(StreamCase):
    """What unsent answers count for."""

    def test_account(self) -> None:
        """An answer counts for who asked until it is written, whole."""
        connection = self.ask("/large")
        self.assertEqual(self.memory.used_by(OWNER), LARGE)
        self.assertEqual(len(self.rest(connection).partition(b"\r\n\r\n")[2]), LARGE)
        self.assertEqual(self.memory.used, 0)

    def test_of_a_large_body(self) -> None:
        """The room for a large body is others' as soon as there is an answer, taken or not."""
        connection = self.served.connect()
        connection.wire.room = 5000
        body = b'{"text": "%b"}' % (b"x" * MIB)
        connection.send(message("POST", "/much", body, ANN))
        while not self.memory.used_by(OWNER):
            self.served.clock.advance(0)
        self.assertEqual(self.memory.used_by(OWNER), LARGE)
        self.assertEqual(self.served.router._large._held, {})

    def test_address(self) -> None:
        """An answer to somebody unknown counts for the address."""
        self.ask("/public")
        self.assertEqual(self.memory.used_by(ADDRESS), LARGE)

    def test_share(self) -> None:
        """Who has its share in unsent answers is refused the next one; others are not."""
        held = [self.ask("/large") for _ in range(2)]
        [reply] = self.ask("/large").read()
        self.assertEqual((reply.status, reply.json["error"]), (503, "Service Unavailable"))
        self.assertEqual(self.memory.used, 2 * LARGE)
        self.ask("/public")
        self.assertEqual(self.memory.used, 3 * LARGE)
        held[0].lose()
        self.assertEqual(self.memory.used, 2 * LARGE)

    def test_crowd(self) -> None:
        """When there is no room for somebody else, the largest owner's largest answer is broken off."""
        connections = [self.ask("/large") for _ in range(2)]
        other = self.memory.open("account:bob", Ignorant())
        self.assertTrue(other.take(2 * LARGE - 1))
        third = self.memory.open("account:cid", Ignorant())
        self.assertTrue(third.take(2))
        self.assertEqual(self.memory.used, 3 * LARGE + 1)
        [broken] = [connection for connection in connections if connection.wire.aborted]
        self.assertEqual(len(self.served.router.work), 2)
        broken.lose()
        self.assertEqual(len(self.served.router.work), 1)

    def test_head(self) -> None:
        """Nobody pays for a body that is not sent."""
        [reply] = self.ask("/large", method="HEAD").read("HEAD")
        self.assertEqual((reply.status, reply.headers["content-length"]), (200, str(LARGE)))
        self.assertEqual(self.memory.used, 0)


class Ignorant:
    """Holds something and does not care."""

    def give_up(self) -> None:
        """Whatever."""


class PieceTests(StreamCase):
    """Bodies that are made while they are sent."""

    def test_chunked(self) -> None:
        """A body of unknown length is sent in chunks, each piece when the one before is written."""
        connection = self.ask("/slow")
        self.assertEqual(connection.wire.value(), b"")
        for piece in (b"ab", b"c" * 100_000, b""):
            self.give(piece)
            data = self.rest(connection) if piece else connection.wire.take()
            self.assertIn(b"2\r\nab\r\n" if piece == b"ab" else b"", data)
        self.assertTrue(data.endswith(b"0\r\n\r\n"))
        self.assertEqual((self.memory.used, self.pieces.closed), (0, True))
        connection.send(message("GET", "/medium", None, ANN))
        self.assertEqual(connection.read()[0].status, 200)

    def test_old_protocol(self) -> None:
        """HTTP/1.0 has no chunks: the body ends with the connection."""
        connection = self.ask("/slow", version="1.0")
        self.give(b"abc")
        self.give(b"")
        head, _, body = connection.wire.take().partition(b"\r\n\r\n")
        self.assertEqual(body, b"abc")
        self.assertNotIn(b"hunked", head)
        self.assertTrue(connection.closing)

    def test_head(self) -> None:
        """HEAD reads no piece, and does not claim a length."""
        [reply] = self.ask("/slow", method="HEAD").read("HEAD")
        self.assertEqual(reply.status, 200)
        self.assertNotIn("content-length", reply.headers)
        self.assertEqual((self.pieces.asked, self.pieces.closed), ([], True))

    def test_one_piece_ahead(self) -> None:
        """A client that does not read has one piece written, and one waiting."""
        self.ask("/slow")
        self.give(b"a" * 10_000)
        self.give(b"b" * 10_000)
        self.assertEqual((len(self.pieces.asked), self.memory.used), (2, 10_000))

    def test_lost_while_reading(self) -> None:
        """A client that leaves while a piece is read gets it no more; nothing is kept."""
        connection = self.ask("/slow")
        self.give(b"a")
        connection.lose()
        self.assertEqual(len(self.served.router.work), 1)
        self.give(b"b" * 10_000)
        self.assertEqual((len(self.served.router.work), self.memory.used), (0, 0))
        self.assertTrue(self.pieces.closed)

    def test_lost_and_failed(self) -> None:
        """What goes wrong with a piece that nobody waits for is nobody's concern."""
        for error in (ChangedMeanwhile(), ValueError()):
            connection = self.ask("/slow")
            self.give(b"a")
            connection.lose()
            self.pieces.asked[-1].errback(error)
        self.assertEqual((len(self.served.router.work), self.memory.used), (0, 0))
        self.assertNotIn('reason="crowd"', self.server.metrics.exposition().decode())

    def test_lost_before(self) -> None:
        """Nor is anything written to a client that left before the first piece."""
        connection = self.ask("/slow")
        connection.lose()
        self.give(b"a")
        self.assertEqual((connection.wire.value(), self.memory.used), (b"", 0))
        self.assertTrue(self.pieces.closed)

    def test_first_piece_fails(self) -> None:
        """Before anything is written there is still an answer for what goes wrong."""
        cases = {Overloaded(): 503, ChangedMeanwhile(): 503, ValueError(): 500}
        for error, status in cases.items():
            connection = self.ask("/slow")
            self.pieces.asked[-1].errback(error)
            [reply] = connection.read()
            self.assertEqual((reply.status, connection.closing), (status, False))
        self.assertEqual(self.memory.used, 0)

    def test_later_piece_fails(self) -> None:
        """Afterwards the connection is cut, so that nobody takes a part for the whole."""
        for error in (Overloaded(), ChangedMeanwhile(), ValueError()):
            connection = self.ask("/slow")
            self.give(b"begun")
            self.pieces.asked[-1].errback(error)
            self.assertTrue(connection.wire.aborted)
            self.assertFalse(connection.wire.value().endswith(b"0\r\n\r\n"))
            connection.lose()
        self.assertEqual((self.memory.used, len(self.served.router.work)), (0, 0))

    def test_room_runs_out(self) -> None:
        """A piece that there is no room for ends it too, and is told as such."""
        connection = self.ask("/slow")
        self.give(b"begun")
        self.give(bytes(2 * LARGE + 1))
        self.assertTrue(connection.wire.aborted)
        exposition = self.server.metrics.exposition().decode()
        self.assertIn('reason="crowd"} 1.0', exposition)


class StalledTests(StreamCase):
    """Clients that stop reading in the middle."""

    def test_later(self) -> None:
        """The minute begins when the client stops, though at first it took everything."""
        connection = self.ask("/slow", room=100_000)
        self.give(b"a" * 1000)
        connection.wire.take()
        self.served.clock.pump([1] * 100)
        for _ in range(4):
            self.give(b"b" * 40_000)
        self.served.clock.pump([1] * 59)
        self.assertFalse(connection.wire.aborted)
        self.served.clock.pump([1] * 3)
        self.assertTrue(connection.wire.aborted)
        connection.lose()
        self.served.clock.pump([1] * 2)
        self.assertEqual((self.memory.used, self.served.clock.getDelayedCalls()), (0, []))


class PipelineTests(StreamCase):
    """Requests ahead of their answers."""

    def test_small_answers(self) -> None:
        """A connection that takes nothing is not answered any further, however small the answers are."""
        connection = self.ask("/medium")
        connection.send(message("GET", "/medium", None, ANN) * 20)
        self.assertLess(len(connection.wire.value()), 2 * AT_ONCE)
        self.assertEqual(self.memory.used_by(OWNER), AT_ONCE)
        data = self.rest(connection)
        self.assertEqual(data.count(b"HTTP/1.1 200 OK"), 21)
        self.assertEqual(self.memory.used, 0)
