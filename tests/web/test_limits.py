"""Time-outs and limits of a connection (http.md 3.6, 3.8)."""

from __future__ import annotations

import tempfile
from typing import Any, cast

from happy.api.declare import MIB
from tests.toys import ToyTokens
from tests.web.connecting import ANN, TOO_LARGE, ConnectionCase
from tests.web.talking import Connection, message


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

    def test_steady_body(self) -> None:
        """A small body may come slowly, however long that takes, as long as it moves."""
        connection = self.connect()
        octets = {**ANN, "Content-Length": "3000", "Content-Type": "application/octet-stream"}
        connection.send(message("PUT", "/keep", None, octets))
        for _ in range(300):
            self.wait(2)
            connection.send(b"x" * 10)
        self.gate.open.callback(None)
        self.assertEqual(connection.read("PUT")[0].json, 3000)

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
