"""What a doctor finds: on servers that are well, or not, and through proxies that spoil something."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from happy.operator import ctl, inside
from happy.operator.checks import Check
from happy.operator.outside import BANNER, from_outside
from happy.settings.config import Config
from happy.settings.parsers import network
from happy.storage.alone import TAKE, lock_keys
from tests.base.certificates import Authority
from tests.harness import psql, scratch_database
from tests.operated import operated
from tests.operator.test_backup import ENVIRONMENT, QUIET


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server is found by chance, and nobody outside is asked."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(inside, "PUSH", ("127.0.0.1", 9))


def examined(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[int, dict[str, Any]]:
    """The exit status, and the checks by name."""
    status = ctl.main(["doctor", "--json", *map(str, given)])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert all(check.keys() == {"name", "state", "detail", "fix"} for check in checks)
    assert all(check["fix"] for check in checks if check["state"] != "ok")
    return status, {check["name"]: check for check in checks}


def test_a_server_that_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing fails, from inside and from outside; what is not well yet is a warning."""
    with operated(tmp_path, environment=QUIET) as server:
        server.start()
        data = tmp_path / "data"
        status, checks = examined(capsys, "--data-dir", data, "--url", server.url)
        assert status == 0
        assert {name for name, check in checks.items() if check["state"] != "ok"} == {"backup", "push"}
        outside = {"banner", "polling", "websocket", "body size", "forwarded headers"}
        assert outside | {"server", "data folder", "secret and data", "schema"} <= checks.keys()
        data.chmod(0o777)
        (data / "master-secret").write_text("x" * 40)
        status, checks = examined(capsys, "--data-dir", data)
        assert status == 1
        failed = {name for name, check in checks.items() if check["state"] == "fail"}
        assert failed == {"data folder", "secret and data"}


def test_a_database_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another server on the database, and a schema of another version, are seen."""
    with scratch_database() as dsn:
        given = ("--database-url", dsn, "--data-dir", tmp_path / "other")
        other = psycopg2.connect(dsn)
        other.cursor().execute(TAKE, lock_keys("public", None))
        _, checks = examined(capsys, *given)
        assert checks["other servers"]["state"] == "warn"
        assert checks["server"]["state"] == "warn"
        other.close()
        _, checks = examined(capsys, *given)
        assert checks["other servers"]["state"] == "ok"
        assert checks["master secret"]["state"] == "fail"
        psql(dsn, "INSERT INTO happy_migrations VALUES (9999, '9999-later', now())")
        status, checks = examined(capsys, *given)
        assert (status, checks["schema"]["state"]) == (1, "fail")


def test_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a database the other checks are made all the same."""
    status, checks = examined(capsys, "--database-url", "postgresql://127.0.0.1:9/x", "--data-dir", tmp_path)
    assert (status, checks["database"]["state"]) == (1, "fail")
    assert "disk" in checks


def test_wrong_settings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps a server from starting is all that is said."""
    monkeypatch.setenv("PORT", "many")
    status, checks = examined(capsys)
    assert (status, list(checks)) == (1, ["settings"])


class _Proxy(BaseHTTPRequestHandler):
    """One that has nginx's limit for bodies, and knows nothing of WebSocket."""

    def do_GET(self) -> None:
        """Pass requests on as a proxy without a recipe does."""
        polling = self.path.startswith("/v1/updates/") and "polling" in self.path
        self.send_response(404 if "websocket" in self.path else 200)
        content = b'0{"sid":"x"}' if polling else BANNER
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Refuse without reading."""
        self.send_response(413)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", "0")
        self.end_headers()
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def proxy(certificates: Path | None = None) -> Iterator[str]:
    """The authority (host and port) of such a proxy."""
    server = HTTPServer(("127.0.0.1", 0), _Proxy)
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "chain.pem", certificates / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def seen(address: str, config: Config | None = None) -> dict[str, Check]:
    """The checks by name."""
    return {check.name: check for check in from_outside(address, config or Config())}


def test_a_proxy_in_between() -> None:
    """What a proxy does not pass is told, with what its file needs."""
    with proxy() as authority:
        checks = seen(f"http://{authority}")
        assert {name: check.state for name, check in checks.items()} == {
            "banner": "ok",
            "polling": "ok",
            "websocket": "fail",
            "body size": "fail",
            "forwarded headers": "warn",
        }
        assert "client_max_body_size" in checks["body size"].fix
        trusting = Config(trusted_proxies=(network("127.0.0.1"),))
        assert seen(f"http://{authority}", trusting)["forwarded headers"].state == "ok"


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody vouches for is told as such; one that ends soon is worth a word."""
    Authority(tmp_path)
    with proxy(tmp_path) as authority:
        assert "whole chain" in seen(f"https://{authority}")["reachable"].detail
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        checks = seen(f"https://{authority}")
        assert checks["TLS"].state == "warn"
        assert checks["banner"].state == "ok"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "http://", "nonsense", "http://[::1", "https://h:x"]
)
def test_addresses_that_lead_nowhere(address: str) -> None:
    """Whatever is given as an address, a check says that there is nothing."""
    checks = seen(address)
    assert checks["reachable"].state == "fail"
    assert "\n" not in checks["reachable"].detail
