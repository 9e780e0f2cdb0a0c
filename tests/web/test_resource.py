"""The tables of http.md 3, asked on a connection: routing, bodies, errors."""

from __future__ import annotations

from typing import Any, cast

from treq.testing import StubTreq
from twisted.internet.defer import Deferred

from tests.web.resources import ANN, JSON, ResourceCase
from tests.web.talking import message


class RoutingTests(ResourceCase):
    """What is served, and what is said where nothing is."""

    def test_found(self) -> None:
        """An answer is JSON with a length, open to all origins, on a connection that stays."""
        reply = self.ask("GET", "/toys/a%2Fb", authorization=ANN)
        self.assertEqual((reply.status, reply.json), (200, {"id": "a/b", "of": "ann"}))
        self.assertEqual(reply.headers.pop("date")[-3:], "GMT")
        self.assertEqual(
            reply.headers,
            {
                "access-control-allow-origin": "*",
                "content-type": JSON,
                "content-length": str(len(reply.body)),
                "connection": "keep-alive",
                "keep-alive": "timeout=72",
            },
        )

    def test_unknown(self) -> None:
        """The answer names the path as it was sent, with its query, and the method."""
        for method, path in (
            ("GET", "/nowhere?x=1&y=%20"),
            ("POST", "/"),
            ("PATCH", "/toys"),
            ("GET", "/toys"),
            ("GET", "/toys/" + "k" * 1025),
        ):
            reply = self.ask(method, path)
            self.assertEqual(reply.status, 404)
            self.assertEqual(reply.headers["content-type"], JSON)
            self.assertEqual(reply.headers["access-control-allow-origin"], "*")
            self.assertEqual(reply.json, {"error": "Not found", "path": path, "method": method})

    def test_bad_escape(self) -> None:
        """A wrong percent sequence is an answer of its own kind, not for other origins."""
        reply = self.ask("GET", "/toys/a%2?q=1")
        self.assertEqual(reply.status, 400)
        self.assertEqual(reply.headers["content-type"], "application/json")
        self.assertNotIn("access-control-allow-origin", reply.headers)
        self.assertEqual(
            reply.json,
            {
                "error": "Bad Request",
                "code": "FST_ERR_BAD_URL",
                "message": "'/toys/a%2' is not a valid url component",
                "statusCode": 400,
            },
        )

    def test_head(self) -> None:
        """HEAD answers as GET does, without the body."""
        for path in ("/", "/toys/x", "/nowhere", "/long", "/elsewhere"):
            got, head = self.ask("GET", path, authorization=ANN), self.ask("HEAD", path, authorization=ANN)
            self.assertEqual(head.body, b"")
            self.assertEqual(head.status, got.status)
            if path != "/nowhere":
                # A second may pass between the two.
                self.assertEqual(head.headers | {"date": got.headers["date"]}, got.headers)

    def test_unknown_paths_still_read_bodies(self) -> None:
        """A body that cannot be read is complained about even where nothing is served."""
        self.assertEqual(self.ask("POST", "/nowhere", b"{").json["error"], "SyntaxError")
        self.assertEqual(self.ask("POST", "/nowhere", b"x", content_type="a/b").status, 404)
        self.assertEqual(self.ask("POST", "/nowhere", b"{}").status, 404)
        self.assertEqual(self.ask("GET", "/nowhere", b"{").status, 404)

    def test_absolute_form(self) -> None:
        """A target in the form that proxies get is as good as its path."""
        self.assertEqual(self.ask("GET", "http://happy.test/toys/x", authorization=ANN).json["id"], "x")
        reply = self.ask("GET", "HTTP://happy.test/nowhere?a=http://b")
        self.assertEqual((reply.status, reply.json["path"]), (404, "HTTP://happy.test/nowhere?a=http://b"))

    def test_slashes(self) -> None:
        """An address with a slash at its end works; slashes elsewhere mean what they always do."""
        for path in ("//toys/x", "////toys/x", "http://happy.test//toys/x"):
            self.assertEqual(self.ask("GET", path, authorization=ANN).json["id"], "x")
        for path in ("//", "///?a", "http://happy.test", "http://happy.test?a"):
            self.assertEqual(self.ask("GET", path).body, b"hello")
        reply = self.ask("GET", "//nowhere?a")
        self.assertEqual((reply.status, reply.json["path"]), (404, "//nowhere?a"))
        self.assertEqual(self.ask("GET", "/toys//x", authorization=ANN).status, 404)

    def test_redirect(self) -> None:
        """A redirect has a location and no body."""
        reply = self.ask("GET", "/elsewhere")
        self.assertEqual((reply.status, reply.body), (302, b""))
        self.assertEqual(reply.headers["location"], "https://example.org/?a=b")
        self.assertEqual(reply.headers["content-length"], "0")
        self.assertNotIn("content-type", reply.headers)

    def test_text(self) -> None:
        """Text is text."""
        reply = self.ask("GET", "/?a=b")
        self.assertEqual((reply.body, reply.headers["content-type"]), (b"hello", "text/plain; charset=utf-8"))

    def test_websockets_have_one_path(self) -> None:
        """An upgrade to WebSocket anywhere else is answered at once with 404, and the connection ends."""
        reply = self.ask("GET", "/toys/x", upgrade="websocket", connection="Upgrade", authorization=ANN)
        self.assertEqual((reply.status, reply.json["path"]), (404, "/toys/x"))
        self.assertEqual(reply.headers["connection"], "close")

    def test_other_upgrades_are_declined_silently(self) -> None:
        """A client that offers HTTP/2 is served as if it had not."""
        reply = self.ask("GET", "/", upgrade="h2c", connection="Upgrade, HTTP2-Settings")
        self.assertEqual((reply.status, reply.body), (200, b"hello"))


class BodyTests(ResourceCase):
    """Bodies as they come over the wire."""

    def test_json(self) -> None:
        """A body arrives whole, small or large, with length or chunked."""
        for size in (1, 3000, 200_000):
            body = b'{"name":"' + b"n" * size + b'"}'
            self.assertEqual(self.ask("POST", "/toys", body, authorization=ANN).json, {"size": size})
            chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            connection = self.served.connect()
            head = {"Authorization": ANN, "Transfer-Encoding": "chunked", "Content-Type": "application/json"}
            connection.send(message("POST", "/toys", None, head) + chunks)
            self.assertEqual(connection.read("POST")[0].json, {"size": size})

    def test_byte_by_byte(self) -> None:
        """Nothing depends on how the network cuts a request."""
        connection = self.served.connect()
        for byte in message("POST", "/toys", b'{"name":"abc"}', {"Authorization": ANN}):
            connection.send(bytes([byte]))
        self.assertEqual(connection.read("POST")[0].json, {"size": 3})

    def test_unsupported(self) -> None:
        """A form, a body without type, and any other type are not supported."""
        for content_type, body, named in (
            ("application/x-www-form-urlencoded", b"x", "application/x-www-form-urlencoded"),
            ("multipart/form-data; boundary=x", b"x", "multipart/form-data; boundary=x"),
            ("a/b", b"", "a/b"),
            ("", b"x", "undefined"),
        ):
            reply = self.ask("POST", "/toys", body, content_type=content_type)
            self.assertEqual(reply.status, 415)
            self.assertEqual(reply.json["message"], f"Unsupported Media Type: {named}")

    def test_delete_bodies_are_read(self) -> None:
        """DELETE with broken JSON is refused, with an empty JSON body it is not."""
        self.assertEqual(self.ask("DELETE", "/toys/x", b"{").status, 400)
        self.assertEqual(self.ask("DELETE", "/toys/x", b"").status, 200)
        self.assertEqual(self.ask("DELETE", "/toys/x").status, 200)

    def test_get_bodies_are_not(self) -> None:
        """GET with anything in its body is answered as without."""
        reply = self.ask("GET", "/toys/x", b"{", authorization=ANN, content_type="a/b")
        self.assertEqual(reply.status, 200)


class FailureTests(ResourceCase):
    """Errors of ours."""

    def test_failure(self) -> None:
        """An unexpected error is the shared 500, for every origin."""
        reply = self.ask("POST", "/boom")
        self.assertEqual(reply.status, 500)
        self.assertEqual(
            reply.json,
            {"error": "Internal Server Error", "message": "An unexpected error occurred", "statusCode": 500},
        )
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")

    def test_failure_outside_of_endpoints(self) -> None:
        """An error in the machinery itself is a 500 as well, and the connection stays usable."""
        self.served.router._webapp = cast(Any, "broken")
        reply = self.ask("GET", "/nowhere")
        self.assertEqual((reply.status, reply.json["error"]), (500, "Internal Server Error"))
        self.assertEqual(reply.headers["connection"], "keep-alive")

    def test_failure_while_sending(self) -> None:
        """An error while an answer is sent ends the connection, and is logged."""
        connection = self.served.connect()
        connection.wire.write = lambda data: 1 / 0  # type: ignore[assignment, return-value]
        connection.send(message("GET", "/"))
        self.assertTrue(connection.wire.aborted)
        connection.lose()
        self.assertEqual(len(self.served.router.work), 0)

    def test_unauthorized(self) -> None:
        """401 is for every origin, and asks for nothing in particular."""
        reply = self.ask("GET", "/toys/x")
        self.assertEqual((reply.status, reply.json), (401, {"error": "Missing authorization header"}))
        self.assertNotIn("www-authenticate", reply.headers)
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")


class ResourceTests(ResourceCase):
    """The router as a resource in any site."""

    def test_stub_treq(self) -> None:
        """The resource works under a site that is not ours."""
        client = StubTreq(self.served.router)
        response = self.successResultOf(client.get("http://h/toys/a", headers={"authorization": [ANN]}))
        content: Deferred[Any] = client.json_content(response)
        self.assertEqual(self.successResultOf(content), {"id": "a", "of": "ann"})
