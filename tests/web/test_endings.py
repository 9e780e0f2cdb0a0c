"""What is under way on a connection when a client or the server goes (http.md 3.8)."""

from __future__ import annotations

from tests.web.connecting import ANN, ConnectionCase
from tests.web.talking import Connection, message


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
        for target in (
            "//v1/updates/?a",
            "///v1/updates/?a",
            "http://happy.test/v1/updates/?a",
            "wss://h:1/v1/updates/?a",
        ):
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
        self.successResultOf(self.served.site.stop())
        self.assertTrue(connection.closing)
        self.assertTrue(fresh.closing)

    def test_lost_connections_are_left_alone(self) -> None:
        """A connection that is already gone is not closed once more."""
        connection, _ = self.exchange(message("GET", "/quick"))
        connection.lose()
        self.served.site.stop()
        self.assertFalse(connection.closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_requests_are_answered(self) -> None:
        """What is under way is answered, as the last on its connection, and then draining is over."""
        connection = self.connect()
        connection.send(message("POST", "/slow"))
        drained = self.served.site.stop()
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
        drained = self.served.site.stop()
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
        drained = self.served.site.stop()
        self.assertNoResult(drained)
        self.gate.open.callback(None)
        self.successResultOf(drained)

    def test_late_requests(self) -> None:
        """A request on a connection accepted at the last moment is answered and the connection closed."""
        self.served.site.stop()
        connection, [reply] = self.exchange(message("GET", "/quick"))
        self.assertEqual(reply.headers["connection"], "close")
        self.assertTrue(connection.closing)
