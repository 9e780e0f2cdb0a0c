"""Connections: what is read as a request, keep-alive, and the site (http.md 3.6, 3.8)."""

from __future__ import annotations

from typing import Any

from tests.web.connecting import ANN, UNPARSABLE, ConnectionCase
from tests.web.talking import message


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
        """Requests sent together are answered in their order, each when it is done.

        What follows one that had to wait is not begun within whatever made it go on.
        """
        connection = self.connect()
        connection.send(message("GET", "/quick") + message("POST", "/slow") + message("GET", "/quick"))
        self.assertEqual([reply.json for reply in connection.read()], ["quick"])
        self.gate.open.callback(None)
        self.assertEqual([reply.json for reply in connection.read("POST")], ["slow"])
        self.served.clock.advance(0)
        self.assertEqual([reply.json for reply in connection.read()], ["quick"])

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
