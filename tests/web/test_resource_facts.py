"""What an endpoint is told of a request, and further tables: CORS, odd headers, metrics (http.md 3)."""

from __future__ import annotations

from ipaddress import ip_network

from prometheus_client import CollectorRegistry

from happy.settings.config import Config
from tests.toys import toy_server
from tests.web.resources import ANN, ResourceCase, toys
from tests.web.talking import Served, message


class CorsTests(ResourceCase):
    """Requests from other origins (http.md 3.7, D39)."""

    def test_preflight(self) -> None:
        """A preflight of any path is granted what it asks for, for a day."""
        for path in ("/toys", "/nowhere", "/v1/x?y=z", "/toys/%zz"):
            reply = self.ask(
                "OPTIONS",
                path,
                origin="https://app.example",
                access_control_request_method="DELETE",
                access_control_request_headers="authorization,content-type,x-happy-client",
            )
            self.assertEqual((reply.status, reply.body), (204, b""))
            wanted = {name: value for name, value in reply.headers.items() if name.startswith("access-")}
            self.assertEqual(
                wanted,
                {
                    "access-control-allow-origin": "*",
                    "access-control-allow-methods": "GET, POST, PUT, DELETE",
                    "access-control-allow-headers": "authorization,content-type,x-happy-client",
                    "access-control-max-age": "86400",
                },
            )
            self.assertEqual(reply.headers["content-length"], "0")
            self.assertNotIn("vary", reply.headers)

    def test_preflight_without_headers(self) -> None:
        """A preflight that names no headers gets the wildcard."""
        reply = self.ask("OPTIONS", "/toys", origin="o", access_control_request_method="GET")
        self.assertEqual(reply.headers["access-control-allow-headers"], "*")

    def test_no_preflight(self) -> None:
        """OPTIONS alone is refused."""
        for headers in ({}, {"origin": "https://app.example"}, {"access_control_request_method": "GET"}):
            reply = self.ask("OPTIONS", "/toys", **headers)
            self.assertEqual((reply.status, reply.body), (400, b"Invalid Preflight Request"))
            self.assertEqual(reply.headers["content-type"], "text/plain")
            self.assertEqual(reply.headers["access-control-allow-origin"], "*")


class FactsTests(ResourceCase):
    """Addresses of both sides."""

    def test_base_url(self) -> None:
        """Our address is the configured one, or what the request says, first values first (D20)."""
        cases: list[tuple[dict[str, str], str]] = [
            ({}, "http://happy.test"),
            ({"x_forwarded_host": "a.example, b.example"}, "http://a.example"),
            ({"x_forwarded_proto": "https,http", "x_forwarded_host": "a.example"}, "https://a.example"),
            ({"host": "h:3005"}, "http://h:3005"),
        ]
        for headers, expected in cases:
            self.assertEqual(self.ask("GET", "/facts", **headers).json["base"], expected)
        public = Served(toy_server(Config(public_url="https://public.example")), [toys])
        self.assertEqual(public.ask("GET", "/facts").json["base"], "https://public.example")

    def test_base_url_without_host(self) -> None:
        """HTTP/1.0 without a host leaves the address of this machine."""
        connection = self.served.connect()
        connection.send(b"GET /facts HTTP/1.0\r\n\r\n")
        self.assertEqual(connection.read()[0].json["base"], "http://localhost:3005")

    def test_peer(self) -> None:
        """The client's address is the peer's, or what a trusted proxy says, in one header or several."""
        trusting = toy_server(Config(trusted_proxies=(ip_network("127.0.0.0/8"),)))
        for server, expected in ((toy_server(), "127.0.0.1"), (trusting, "9.9.9.9")):
            connection = Served(server, [toys], fast=self.fast).connect(peer="127.0.0.1")
            forwarded = {"X-Forwarded-For": "1.1.1.1, 9.9.9.9"}
            connection.send(message("GET", "/facts", None, forwarded))
            twice = {"X-Forwarded-For": "1.1.1.1\r\nX-Forwarded-For: 9.9.9.9"}
            connection.send(message("GET", "/facts", None, twice))
            self.assertEqual(
                [reply.json["address"] for reply in connection.read("GET", "GET")], [expected] * 2
            )


class OddHeaderTests(ResourceCase):
    """Headers that hold anything."""

    def test_headers_that_are_no_text(self) -> None:
        """Bytes beyond ASCII in any header that is looked at do no harm."""
        names = [
            "authorization",
            "content-type",
            "x-happy-client",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-for",
            "user-agent",
            "origin",
            "access-control-request-method",
            "access-control-request-headers",
            "upgrade",
            "connection",
            "range",
            "if-none-match",
        ]
        odd = dict.fromkeys(names, "\xff\xfe\x80")
        for method, path in (("GET", "/facts"), ("GET", "/toys/x"), ("POST", "/toys"), ("OPTIONS", "/x")):
            connection = self.served.connect()
            connection.send(message(method, path, None, odd))
            self.assertIn(connection.read(method)[0].status, (200, 204, 400, 401, 415))


class MetricsTests(ResourceCase):
    """Requests are counted by template (D28)."""

    def counted(self, **labels: str) -> float:
        registry: CollectorRegistry = self.server.metrics.registry
        return registry.get_sample_value("http_requests_total", labels) or 0

    def test_counted(self) -> None:
        """Method, template, status and client of each request are counted, with its duration."""
        self.ask("GET", "/toys/a", authorization=ANN, x_happy_client="ios/1.2.3")
        self.ask("GET", "/toys/b", authorization=ANN, x_happy_client="ios/1.2.3")
        labels = {"method": "GET", "route": "/toys/:toyId", "status": "200"}
        client = {"client": "ios/1.2.3", "client_type": "ios"}
        self.assertEqual(self.counted(**labels, **client), 2)
        seconds = self.server.metrics.registry.get_sample_value(
            "http_request_duration_seconds_count", {**labels, **client}
        )
        self.assertEqual(seconds, 2)

    def test_unmatched(self) -> None:
        """Unknown paths share one label, and unknown methods another."""
        self.ask("GET", "/a")
        self.ask("GET", "/b")
        self.ask("BREW", "/c")
        nobody = {"client": "unknown", "client_type": "unknown"}
        self.assertEqual(self.counted(method="GET", route="unmatched", status="404", **nobody), 2)
        self.assertEqual(self.counted(method="other", route="unmatched", status="404", **nobody), 1)
