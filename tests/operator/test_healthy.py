"""The container's check of its server's health."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from happy.operator.healthy import check, connection_to
from tests.base.certificates import Authority


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "somebody"


class _UnixServer(HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> Any:
        return self.socket.accept()[0], ("", 0)


@contextmanager
def answering(server: HTTPServer) -> Iterator[HTTPServer]:
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ports(tmp_path: Path) -> None:
    """HOST and PORT, and HAPPY_LISTEN in their place, of which the first that can be reached counts."""
    with answering(HTTPServer(("127.0.0.1", 0), _Health)) as server:
        port = server.server_port
        for environment in (
            {"PORT": f"{port}\n"},
            {"PORT": str(port), "HOST": "0.0.0.0"},
            {"HAPPY_LISTEN": f"tcp:{port}", "PORT": "1"},
            {"HAPPY_LISTEN": f"tcp:port={port}:interface=127.0.0.1"},
        ):
            assert check(environment) is None, environment
    assert check({"PORT": str(port)}) == "no answer: Connection refused"
    assert "must be a whole number" in str(check({"PORT": "x"}))


def test_tls(tmp_path: Path) -> None:
    """A port of TLS is asked by TLS, whatever the certificate says."""
    made = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    server = HTTPServer(("127.0.0.1", 0), _Health)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with answering(server):
        where = f"ssl:{server.server_port}:privateKey={made.key}:certKey={made.chain}"
        assert check({"HAPPY_LISTEN": where}) is None


def test_a_socket(tmp_path: Path) -> None:
    """A UNIX socket is asked by its path."""
    path = tmp_path / "s"
    with answering(_UnixServer(str(path), _Health)):  # type: ignore[arg-type]
        assert check({"HAPPY_LISTEN": f"unix:{path}"}) is None
        assert check({"HAPPY_LISTEN": f"unix:address={path}:mode=660"}) is None
    assert str(check({"HAPPY_LISTEN": f"unix:{tmp_path}/none"})).startswith("no answer: ")


def test_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another answer is told."""
    monkeypatch.setattr(_Health, "status", 503)
    with answering(HTTPServer(("127.0.0.1", 0), _Health)) as server:
        assert check({"PORT": str(server.server_port)}) == "it answers 503"


def test_addresses() -> None:
    """Every address is reached by its loopback address; what tells nothing is not judged."""
    for description, host in (
        ("tcp:1:interface=\\:\\:", "::1"),
        ("tcp:1", "127.0.0.1"),
        ("tcp6:1:interface=a", "a"),
    ):
        client = connection_to(description)
        assert client is not None and client.host == host
    assert connection_to("systemd:domain=INET:index=0") is None
