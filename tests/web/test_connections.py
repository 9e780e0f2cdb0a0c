"""Connections: limits, time-outs, keep-alive, refusals, lost clients and draining (http.md 3.6, 3.8)."""

from __future__ import annotations

import tempfile
from typing import Any, BinaryIO, cast

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from happy.api.declare import MIB, Caller, Capability
from happy.api.structs import Blob, Body
from tests.toys import ToyTokens, toy_server
from tests.web.talking import Connection, Served, message

toys = Capability("toys")


class Toy(Body):
    name: str


class Gate:
    """What slow endpoints wait for, and what they did."""

    def __init__(self) -> None:
        self.open: Deferred[None] = Deferred()
        self.done: list[Any] = []


@toys.get("/quick", public=True)
async def quick() -> str:
    """Answer at once."""
    return "quick"


@toys.post("/slow", public=True)
async def slow(server: Any) -> str:
    """Answer when the gate opens."""
    await server.hub.open
    server.hub.done.append("slow")
    return "slow"


@toys.put("/keep", limit=3 * MIB)
async def keep(server: Any, caller: Caller, content: BinaryIO) -> int:
    """Read a body after a while."""
    await server.hub.open
    size = len(content.read())
    server.hub.done.append(size)
    return size


@toys.post("/small", limit=1000, strips={413: ("error",)})
async def small(caller: Caller, body: Toy) -> str:
    """Take little."""
    return body.name


@toys.post("/open", public=True, limit=100 * MIB)
async def open_to_all(body: Toy) -> int:
    """Take what anybody sends."""
    return len(body.name)


@toys.get("/stream", public=True)
async def stream(server: Any) -> Blob:
    """Send many chunks, noting each that is taken."""

    def chunks() -> Any:
        for index in range(100):
            server.hub.done.append(index)
            yield b"x" * 1000

    return Blob(chunks=chunks(), length=100_000)


@toys.get("/endless", public=True)
async def endless() -> Blob:
    """Send chunks without saying how many."""
    return Blob(chunks=[b"a" * 10, b"b" * 10], content_type="text/plain")


@toys.get("/broken", public=True)
async def broken() -> Blob:
    """Break off."""

    def chunks() -> Any:
        yield b"begun"
        raise OSError("secret path")

    return Blob(chunks=chunks(), length=100)


@toys.get("/large", public=True)
async def large() -> list[str]:
    """Answer much JSON."""
    return ["x" * 1000] * 1000


ANN = {"Authorization": "Bearer a.token.of-ann"}
UNPARSABLE = {"error": "Bad Request", "message": "Client Error", "statusCode": 400}
TOO_LARGE = {"error": "FastifyError", "message": "Request body is too large", "statusCode": 413}


class Polling:
    """A realtime endpoint that only takes notes, and answers ``/v1/updates/busy`` before the body comes."""

    largest_body = 1000
    websockets = 0

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes, bytes]] = []
        self.lost: list[Request] = []
        self.begun: list[Request] = []

    def handles(self, path: bytes) -> bool:
        return path.startswith(b"/v1/updates/")

    def take(self, channel: object, data: bytes) -> bool:
        return False

    def begin(self, request: Request) -> None:
        self.begun.append(request)
        if request.uri == b"/v1/updates/busy":
            self.refuse(request, 400)

    def lose(self, request: Request) -> None:
        self.lost.append(request)

    def render(self, request: Request) -> None:
        assert request.content is not None
        self.seen.append((request.method, request.uri, request.content.read()))
        request.setHeader("content-length", "2")
        request.write(b"ok")
        request.finish()

    def refuse(self, request: Request, status: int) -> None:
        request.setResponseCode(status)
        request.setHeader("content-length", "0")
        request.finish()


class ConnectionCase(SynchronousTestCase):
    """Tests that talk to toys."""

    fast = True

    def setUp(self) -> None:
        self.gate = Gate()
        self.polling = Polling()
        self.server = toy_server(hub=self.gate)
        self.served = Served(self.server, [toys], self.polling, fast=self.fast)
        self.clock = self.served.clock
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def connect(self) -> Connection:
        return self.served.connect()

    def exchange(self, data: bytes, *methods: str) -> Any:
        """Send on a connection of its own; the connection, and the replies."""
        connection = self.connect()
        connection.send(data)
        return connection, connection.read(*methods)

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(int(seconds)):
            self.clock.advance(1)


class ParsingTests(ConnectionCase):
    """What is not HTTP, or too much of it."""

    def refused(self, data: bytes) -> Any:
        connection, [reply] = self.exchange(data)
        self.assertTrue(connection.closing)
        self.assertNotIn("access-control-allow-origin", reply.headers)
        self.assertEqual(reply.headers["connection"], "close")
        return reply

    def test_unparsable(self) -> None:
        """What is not HTTP is answered, and the connection closed."""
        for data in (
            b"GARBAGE\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n",
        ):
            reply = self.refused(data)
            self.assertEqual((reply.status, reply.json), (400, UNPARSABLE), data)

    def test_hopeless(self) -> None:
        """What cannot become HTTP is refused at once, though the client waits for more before it goes on."""
        for data in (
            b"\x16\x03\x01\x02",
            b"\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"\0",
            b"GET / HTTP/1.1\r\n fold",
        ):
            reply = self.refused(data)
            self.assertEqual((reply.status, reply.json), (400, UNPARSABLE), data)
            connection, _ = self.exchange(message("GET", "/quick"))
            connection.send(data)
            self.assertEqual(connection.read()[0].status, 400)
            self.assertTrue(connection.closing)

    def test_large_headers(self) -> None:
        """A head of more than 16 KiB is refused, in one line or in many."""
        many = b"".join(b"X-%d: %s\r\n" % (index, b"v" * 100) for index in range(200))
        for head in (
            b"X: " + b"x" * 17_000,
            b"X: " + b"x" * 17_000 + b"\r\n\r\n",
            many,
            b"".join(b"X:\r\n" for _ in range(9000)) + b"\r\n",
        ):
            reply = self.refused(b"GET / HTTP/1.1\r\nHost: h\r\n" + head)
            self.assertEqual(reply.status, 431)
            self.assertEqual(
                reply.json,
                {
                    "error": "Request Header Fields Too Large",
                    "message": "Exceeded maximum allowed HTTP header size",
                    "statusCode": 431,
                },
            )

    def test_long_request_line(self) -> None:
        """A target of more than 16 KiB counts as a head that is too large."""
        self.assertEqual(self.refused(b"GET /" + b"x" * 17_000).status, 431)

    def test_large_but_fitting(self) -> None:
        """A head just below the limit is served."""
        _, [reply] = self.exchange(message("GET", "/quick", None, {"x": "x" * 16_000}))
        self.assertEqual(reply.status, 200)

    def test_many_headers(self) -> None:
        """How many headers make up a head does not matter."""
        _, [reply] = self.exchange(message("GET", "/quick", None, {f"x{n}": "" for n in range(1500)}))
        self.assertEqual(reply.status, 200)

    def test_no_host(self) -> None:
        """HTTP/1.1 without a host, or with two, is refused with nothing to say."""
        for hosts in (b"", b"Host: a\r\nHost: b\r\n"):
            reply = self.refused(b"GET /quick HTTP/1.1\r\n" + hosts + b"\r\n")
            self.assertEqual((reply.status, reply.body), (400, b""))

    def test_nothing_follows_a_refusal(self) -> None:
        """What comes after an unparsable request, in the same packet or later, is not served."""
        connection = self.connect()
        connection.send(b"GARBAGE\r\n" + message("GET", "/quick"))
        connection.send(message("GET", "/quick"))
        self.assertEqual(len(connection.read()), 1)


class KeepAliveTests(ConnectionCase):
    """Several requests on one connection."""

    def test_pipelining(self) -> None:
        """Requests sent together are answered in their order, each when it is done."""
        connection = self.connect()
        connection.send(message("GET", "/quick") + message("POST", "/slow") + message("GET", "/quick"))
        self.assertEqual([reply.json for reply in connection.read()], ["quick"])
        self.gate.open.callback(None)
        self.assertEqual([reply.json for reply in connection.read("POST", "GET")], ["slow", "quick"])

    def test_http_1_0(self) -> None:
        """HTTP/1.0 is answered, and the connection closed."""
        connection, [reply] = self.exchange(message("GET", "/quick", version="1.0"))
        self.assertEqual((reply.json, reply.headers["connection"]), ("quick", "close"))
        self.assertTrue(connection.closing)

    def test_close(self) -> None:
        """A client that wants to close, in any spelling, is let go."""
        for wish in ("close", "Close", "TE, close"):
            connection, [reply] = self.exchange(message("GET", "/quick", None, {"Connection": wish}))
            self.assertEqual(reply.headers["connection"], "close")
            self.assertTrue(connection.closing)

    def test_unknown_length(self) -> None:
        """A body of unknown length is chunked; for HTTP/1.0 it ends with the connection."""
        _, [reply] = self.exchange(message("GET", "/endless"))
        self.assertEqual((reply.body, reply.headers["transfer-encoding"]), (b"a" * 10 + b"b" * 10, "chunked"))
        connection, [reply] = self.exchange(message("GET", "/endless", version="1.0"))
        self.assertEqual(reply.body, b"a" * 10 + b"b" * 10)
        self.assertTrue(connection.closing)

    def test_continue(self) -> None:
        """A client that asks first is told to go on, unless its body would be refused."""
        connection = self.connect()
        expecting = {
            **ANN,
            "Expect": "100-continue",
            "Content-Length": "12",
            "Content-Type": "application/json",
        }
        connection.send(message("POST", "/small", None, expecting))
        self.assertEqual(connection.wire.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(b'{"name":"n"}')
        self.assertEqual(connection.read("POST")[0].json, "n")
        _, [reply] = self.exchange(
            message("POST", "/small", None, {**expecting, "Content-Length": "2000"}), "POST"
        )
        self.assertEqual(reply.status, 413)


class TimeoutTests(ConnectionCase):
    """Silence."""

    def test_idle(self) -> None:
        """A connection is kept for 72 seconds after an answer, and no longer."""
        connection, _ = self.exchange(message("GET", "/quick"))
        self.wait(71)
        self.assertFalse(connection.closing)
        connection.send(message("GET", "/quick"))
        connection.read()
        self.wait(71)
        self.assertFalse(connection.closing)
        self.wait(2)
        self.assertTrue(connection.closing)

    def test_never_begun(self) -> None:
        """A client that connects and says nothing is dropped."""
        connection = self.connect()
        self.wait(73)
        self.assertTrue(connection.closing)

    def test_slow_head(self) -> None:
        """A head that comes drop by drop is cut off, however regularly it drops."""
        connection = self.connect()
        for byte in message("GET", "/quick", None, {"x": "x" * 100})[:73]:
            connection.send(bytes([byte]))
            self.clock.advance(1)
        self.assertTrue(connection.wire.aborted)

    def test_slow_body(self) -> None:
        """A body that comes drop by drop is cut off too."""
        connection = self.connect()
        connection.send(message("POST", "/small", None, {**ANN, "Content-Length": "900"}))
        for _ in range(73):
            connection.send(b" ")
            self.clock.advance(1)
        self.assertTrue(connection.wire.aborted)

    def test_long_body(self) -> None:
        """A large body may take long as long as it moves."""
        connection = self.connect()
        octets = {**ANN, "Content-Length": str(MIB), "Content-Type": "application/octet-stream"}
        connection.send(message("PUT", "/keep", None, octets))
        for _ in range(16):
            self.wait(60)
            connection.send(b"x" * 65_536)
        self.gate.open.callback(None)
        self.assertEqual(connection.read("PUT")[0].json, MIB)

    def test_working(self) -> None:
        """A request that takes long to answer is not cut off."""
        connection = self.connect()
        connection.send(message("POST", "/slow"))
        self.wait(600)
        self.gate.open.callback(None)
        self.assertEqual(connection.read("POST")[0].json, "slow")

    def test_silent_about_addresses(self) -> None:
        """Dropping a client leaves no trace of its address."""
        self.exchange(message("GET", "/quick"))
        self.connect().send(b"GET")
        self.wait(100)
        self.assertNotIn("203.0.113.7", str(self.logged))


class LimitTests(ConnectionCase):
    """Bodies that are too large (D24)."""

    def announce(self, path: str, size: int, headers: dict[str, str], method: str = "POST") -> Any:
        """The reply to a head that announces a body, or None if the server waits for it."""
        connection = self.connect()
        sent = {"Content-Type": "application/json", **headers, "Content-Length": str(size)}
        connection.send(message(method, path, None, sent))
        if not connection.wire.value():
            return None
        [reply] = connection.read(method)
        self.assertEqual(reply.headers["connection"], "close")
        self.assertTrue(connection.wire.half_closed)
        return reply

    def test_announced(self) -> None:
        """Too large a length is refused at once, and the connection ends."""
        reply = self.announce("/keep", 3 * MIB + 1, ANN, "PUT")
        self.assertEqual((reply.status, reply.json), (413, TOO_LARGE))
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")
        self.assertIsNone(self.announce("/keep", 3 * MIB, ANN, "PUT"))

    def test_strangers(self) -> None:
        """Without a plausible token, a mebibyte is the limit everywhere."""
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic a.b.c"}):
            self.assertEqual(self.announce("/keep", MIB + 1, headers, "PUT").status, 413)
            self.assertIsNone(self.announce("/keep", MIB, headers, "PUT"))

    def test_impostors(self) -> None:
        """Who presents a token that turns out to be worthless hears so before sending the body."""
        reply = self.announce("/keep", MIB + 1, {"Authorization": "Bearer a.b.c"}, "PUT")
        self.assertEqual((reply.status, reply.json), (401, {"error": "Invalid token"}))

    def test_tokens_are_not_checked_for_small_bodies(self) -> None:
        """The head of an ordinary request costs no token check."""
        self.announce("/keep", MIB, ANN, "PUT")
        self.assertEqual(cast(ToyTokens, self.server.tokens).checked, 0)

    def test_elsewhere(self) -> None:
        """Where nothing is served, and where everybody may send, the limit is a mebibyte."""
        for path in ("/nowhere", "/open"):
            self.assertEqual(self.announce(path, MIB + 1, ANN).status, 413)
            self.assertIsNone(self.announce(path, MIB, ANN))

    def test_own_limit(self) -> None:
        """An endpoint may want less, and say it in its own way."""
        reply = self.announce("/small", 1001, ANN)
        self.assertEqual((reply.status, reply.json), (413, {"error": "FastifyError"}))

    def test_reads(self) -> None:
        """A body of a GET is not needed, and not taken in any size."""
        self.assertEqual(self.announce("/quick", MIB + 1, {}, "GET").status, 413)

    def chunked(self, path: str, chunks: int, headers: dict[str, str], method: str) -> Connection:
        connection = self.connect()
        types = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
        connection.send(message(method, path, None, {**types, **headers}))
        for _ in range(chunks):
            if not connection.closing:
                connection.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        return connection

    def test_chunked(self) -> None:
        """A body without a length is refused as soon as it is too large."""
        for headers, chunks in (({}, 17), (ANN, 49)):
            connection = self.chunked("/keep", chunks - 1, headers, "PUT")
            self.assertFalse(connection.closing)
            connection.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n0\r\n\r\n")
            [reply] = connection.read("PUT")
            self.assertEqual(reply.status, 413)
            self.assertTrue(connection.closing)

    def test_rest_is_discarded(self) -> None:
        """After a refusal the client's data is swallowed for a moment, then the connection is cut."""
        connection = self.chunked("/keep", 17, {}, "PUT")
        connection.send(b"x" * 100_000)
        self.assertEqual(len(connection.read("PUT")), 1)
        self.assertFalse(connection.wire.aborted)
        self.wait(6)
        self.assertTrue(connection.wire.aborted)

    def test_refusals_are_counted(self) -> None:
        """A refused body is a request like others to the metrics."""
        self.announce("/keep", 3 * MIB + 1, ANN, "PUT")
        labels = {"method": "PUT", "route": "/keep", "status": "413", "client": "unknown"}
        found = self.server.metrics.registry.get_sample_value(
            "http_requests_total", {**labels, "client_type": "unknown"}
        )
        self.assertEqual(found, 1)

    def test_large_bodies_wait_on_disk(self) -> None:
        """A body above 100 KiB is not kept in memory, with a length or without."""
        connection = self.connect()
        octets = {**ANN, "Content-Type": "application/octet-stream"}
        connection.send(message("PUT", "/keep", None, {**octets, "Content-Length": "200000"}))
        connection.send(b"x" * 150_000)
        other = self.chunked("/keep", 3, ANN, "PUT")
        for one in (connection, other):
            content = one.channel.requests[0].content
            self.assertIsInstance(content, tempfile.SpooledTemporaryFile)
            self.assertTrue(cast(Any, content)._rolled)


class RealtimeTests(ConnectionCase):
    """The realtime path."""

    def test_handed_over(self) -> None:
        """Requests of the realtime path go to the endpoint, with their query and body."""
        self.exchange(
            message("POST", "/v1/updates/?EIO=4&t=", b"2probe", {"Content-Type": "text/plain"}), "POST"
        )
        self.assertEqual(self.polling.seen, [(b"POST", b"/v1/updates/?EIO=4&t=", b"2probe")])

    def test_any_way_to_say_it(self) -> None:
        """An address with a slash at its end, or written in full, leads there too."""
        for target in ("//v1/updates/?a", "///v1/updates/?a", "http://happy.test/v1/updates/?a"):
            self.exchange(message("GET", target))
            self.assertEqual(self.polling.seen.pop(), (b"GET", target.encode(), b""))
        self.exchange(message("GET", "/v1//updates/?a"))
        self.assertEqual(self.polling.seen, [])

    def test_limit(self) -> None:
        """A realtime body has a limit of its own, and a refusal without words."""
        for sent in (
            message("POST", "/v1/updates/?a", b"x" * 1001),
            message("POST", "/v1/updates/?a", None, {"Content-Length": "1001"}),
        ):
            _, [reply] = self.exchange(sent, "POST")
            self.assertEqual((reply.status, reply.body), (413, b""))
            self.assertEqual(reply.headers["connection"], "close")
        self.assertEqual(self.polling.seen, [])

    def test_chunked_limit(self) -> None:
        """The limit counts what comes, not what was announced."""
        connection = self.connect()
        connection.send(message("POST", "/v1/updates/?a", None, {"Transfer-Encoding": "chunked"}))
        connection.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        self.assertFalse(connection.closing)
        connection.send(b"1\r\nx\r\n0\r\n\r\n")
        self.assertEqual(connection.read("POST")[0].status, 413)

    def test_answered_before_its_body(self) -> None:
        """The endpoint may answer a request by its head, and that is the connection's last answer."""
        connection = self.connect()
        connection.send(message("POST", "/v1/updates/busy", None, {"Content-Length": "1001"}))
        [reply] = connection.read("POST")
        self.assertEqual((reply.status, reply.headers["connection"]), (400, "close"))
        self.assertTrue(connection.closing)
        connection.send(b"x" * 2000)
        connection.lose()
        self.assertEqual(self.polling.seen + self.polling.lost, [])

    def test_lost_in_the_body(self) -> None:
        """The endpoint hears of a body that breaks off, but not of a request that was complete."""
        lost, complete = self.connect(), self.connect()
        lost.send(message("POST", "/v1/updates/?a", None, {"Content-Length": "5"}) + b"half")
        complete.send(message("POST", "/v1/updates/?a", b"whole", {"Content-Type": "text/plain"}))
        complete.lose()
        self.assertEqual(self.polling.lost, [])
        lost.lose()
        self.assertEqual(self.polling.lost, self.polling.begun[:1])

    def test_not_counted(self) -> None:
        """Realtime requests are no HTTP requests to the metrics, and nothing to wait for."""
        self.exchange(message("GET", "/v1/updates/?a"))
        self.assertNotIn(b"http_requests_total{", self.server.metrics.exposition())
        self.assertEqual(len(self.served.router.work), 0)


class StreamTests(ConnectionCase):
    """Large answers, and clients that read slowly or not at all."""

    def slow_reader(self, path: str) -> Connection:
        connection = self.connect()
        connection.wire.room = 5000
        connection.send(message("GET", path))
        return connection

    def test_back_pressure(self) -> None:
        """Chunks are taken only as fast as the client reads."""
        connection = self.slow_reader("/stream")
        self.assertLess(len(self.gate.done), 10)
        data = b""
        while part := connection.wire.take():
            data += part
        self.assertEqual(len(self.gate.done), 100)
        self.assertEqual(data.partition(b"\r\n\r\n")[2], b"x" * 100_000)

    def test_large_json(self) -> None:
        """An answer of a megabyte is not put into the connection at once."""
        connection = self.slow_reader("/large")
        self.assertLess(len(connection.wire.value()), 200_000)
        data = b""
        while part := connection.wire.take():
            data += part
        self.assertEqual(len(data.partition(b"\r\n\r\n")[2]), 1003 * 1000 + 1)

    def test_stalled(self) -> None:
        """A client that takes nothing for a minute is dropped."""
        connection = self.slow_reader("/stream")
        self.wait(59)
        self.assertFalse(connection.wire.aborted)
        connection.wire.take()
        self.wait(59)
        self.assertFalse(connection.wire.aborted)
        self.wait(2)
        self.assertTrue(connection.wire.aborted)
        connection.lose()
        self.assertEqual(len(self.served.router.work), 0)

    def test_lost(self) -> None:
        """A client that goes away ends the stream."""
        connection = self.slow_reader("/stream")
        connection.channel.stopProducing()
        connection.lose()
        self.assertLess(len(self.gate.done), 10)
        self.assertEqual(len(self.served.router.work), 0)
        self.wait(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_breaking_off(self) -> None:
        """A stream that fails cuts the connection, so that nobody takes the part for the whole."""
        connection = self.connect()
        connection.send(message("GET", "/broken"))
        self.assertTrue(connection.wire.aborted)
        connection.lose()
        self.assertIn("OSError", str(self.logged))
        self.assertNotIn("secret", str(self.logged))
        self.assertEqual(len(self.served.router.work), 0)


class LostClientTests(ConnectionCase):
    """A lost client drops the reply, never the work."""

    def test_work_goes_on(self) -> None:
        """The endpoint runs to its end, with its body at hand, though nobody waits any more."""
        connection = self.connect()
        body = b"x" * 200_000
        connection.send(message("PUT", "/keep", body, {**ANN, "Content-Type": "application/octet-stream"}))
        connection.lose()
        self.assertEqual(len(self.served.router.work), 1)
        self.gate.open.callback(None)
        self.assertEqual(self.gate.done, [200_000])
        self.assertEqual(len(self.served.router.work), 0)

    def test_half_a_request(self) -> None:
        """A client that goes in the middle of a body leaves nothing behind."""
        connection = self.connect()
        connection.send(message("PUT", "/keep", None, {**ANN, "Content-Length": "10"}) + b"123")
        self.assertEqual(len(self.served.router.work), 1)
        connection.lose()
        self.assertEqual(len(self.served.router.work), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DrainTests(ConnectionCase):
    """Stopping (D48)."""

    def test_idle_connections_close(self) -> None:
        """Nothing under way: connections close, and draining is over."""
        connection, _ = self.exchange(message("GET", "/quick"))
        fresh = self.connect()
        self.successResultOf(self.served.site.drain())
        self.assertTrue(connection.closing)
        self.assertTrue(fresh.closing)

    def test_lost_connections_are_left_alone(self) -> None:
        """A connection that is already gone is not closed once more."""
        connection, _ = self.exchange(message("GET", "/quick"))
        connection.lose()
        self.served.site.drain()
        self.assertFalse(connection.closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_requests_are_answered(self) -> None:
        """What is under way is answered, as the last on its connection, and then draining is over."""
        connection = self.connect()
        connection.send(message("POST", "/slow"))
        drained = self.served.site.drain()
        self.assertNoResult(drained)
        self.gate.open.callback(None)
        [reply] = connection.read("POST")
        self.assertEqual((reply.json, reply.headers["connection"]), ("slow", "close"))
        self.assertTrue(connection.closing)
        self.successResultOf(drained)

    def test_half_received_requests(self) -> None:
        """A request whose body is still coming is waited for and answered."""
        connection = self.connect()
        connection.send(message("POST", "/small", b'{"name":"n"}', ANN)[:-5])
        drained = self.served.site.drain()
        self.assertNoResult(drained)
        connection.send(b':"n"}')
        [reply] = connection.read("POST")
        self.assertEqual((reply.json, reply.headers["connection"]), ("n", "close"))
        self.successResultOf(drained)

    def test_work_of_lost_clients(self) -> None:
        """Work that nobody waits for is waited for too."""
        connection = self.connect()
        connection.send(message("POST", "/slow"))
        connection.lose()
        drained = self.served.site.drain()
        self.assertNoResult(drained)
        self.gate.open.callback(None)
        self.successResultOf(drained)

    def test_late_requests(self) -> None:
        """A request on a connection accepted at the last moment is answered and the connection closed."""
        self.served.site.drain()
        connection, [reply] = self.exchange(message("GET", "/quick"))
        self.assertEqual(reply.headers["connection"], "close")
        self.assertTrue(connection.closing)


class SiteTests(ConnectionCase):
    """The site itself."""

    def test_protocols(self) -> None:
        """TLS clients are offered HTTP/1.1 only."""
        self.assertEqual(self.served.site.acceptableProtocols(), [b"http/1.1"])

    def test_no_log(self) -> None:
        """Requests leave no line in any log, and no clock ticks for one."""
        self.served.site.doStart()
        self.exchange(message("GET", "/quick?secret=1", None, ANN))
        self.served.site.doStop()
        self.assertEqual([event for event in self.logged if "secret" in str(event)], [])
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.getTime() < 10], [])
