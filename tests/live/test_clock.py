"""A server whose wall clock is put to another hour while clients are connected."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import websocket
from nacl.signing import SigningKey
from websocket import WebSocket, WebSocketConnectionClosedException

from happy.base.codecs import encode_base64
from tests.harness import psql, scratch_database
from tests.interposed import Switches
from tests.operated import ROOT, Operated, operated

HOUR = 3600
PATIENCE = 30.0
OPTIONS = ("--ping-interval=0.1", "--ping-timeout=1.5", "--metrics-enabled=false")
PINGS = 16
"""Pings until a socket that answers none is dropped."""
HASTY = f"""#!{sys.executable}
from happy.realtime import presence
from twisted.scripts.twistd import run

presence.FLUSH_SECONDS = 0.2
run()
"""
"""A server that stores heartbeats sooner."""
ROW = 'SELECT "active", extract(epoch FROM "lastActiveAt")::float FROM "Session" WHERE "id" = %s'


class Customer:
    """Somebody with sessions on a server; waits with a deadline for everything."""

    def __init__(self, server: Operated, switches: Switches) -> None:
        self.server = server
        self.switches = switches
        self.key = SigningKey.generate()
        self.token = self.log_in()

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """The body of an answer, which is 200."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {token}"} if token else {}
        )
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == 200, text
        return json.loads(text)

    def log_in(self) -> str:
        """A token made now."""
        challenge = b"challenge"
        body = {
            "publicKey": encode_base64(bytes(self.key.verify_key)),
            "challenge": encode_base64(challenge),
            "signature": encode_base64(self.key.sign(challenge).signature),
        }
        return str(self.ask("POST", "/v1/auth", body)["token"])

    def new_session(self, tag: str) -> str:
        """The id of a new session."""
        body = {"tag": tag, "metadata": "m"}
        return str(self.ask("POST", "/v1/sessions", body, self.token)["session"]["id"])

    @contextmanager
    def socket(self) -> Iterator[WebSocket]:
        """A socket that is in."""
        address = f"ws://127.0.0.1:{self.server.port}/v1/updates/?EIO=4&transport=websocket"
        link = websocket.create_connection(address, timeout=PATIENCE)
        try:
            link.send("40" + json.dumps({"token": self.token}))
            while not str(link.recv()).startswith("40"):
                continue
            yield link
        finally:
            link.shutdown()


def hears_pings(link: WebSocket, count: int) -> None:
    """Answer so many pings; fails if they do not come."""
    while count:
        if link.recv() == "2":
            link.send("3")
            count -= 1


def is_dropped(link: WebSocket) -> None:
    """Answer no pings, and be dropped for that."""
    try:
        while link.recv():
            continue
    except WebSocketConnectionClosedException:
        return


def stored(dsn: str, session: str, link: WebSocket) -> float:
    """When a session was last active (epoch seconds), once it is shown as active again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        [(active, at)] = psql(dsn, ROW, (session,))
        if active:
            return float(at)
        hears_pings(link, 1)
    raise AssertionError("the heartbeat was not stored")


def goes_on(customer: Customer, dsn: str, link: WebSocket, session: str, offset: float) -> float:
    """Everything that waits for a time still comes after a step to ``offset``; returns when it was active."""
    psql(dsn, 'UPDATE "Session" SET "active" = false WHERE "id" = %s', (session,))
    customer.switches.ahead = offset
    beat = {"sid": session, "time": int((time.time() + offset) * 1000), "thinking": False}
    link.send("42" + json.dumps(["session-alive", beat]))
    with customer.socket() as silent:
        hears_pings(link, PINGS)
        is_dropped(silent)
    at = stored(dsn, session, link)
    for token in (customer.token, customer.log_in()):
        customer.ask("GET", "/v1/sessions", token=token)
    shown = datetime.fromisoformat(customer.ask("GET", "/health")["timestamp"]).timestamp()
    assert abs(shown - time.time() - offset) < HOUR / 2
    return at


def test_steps(tmp_path: Path) -> None:
    """An hour back and an hour ahead: pings, timeouts, heartbeats and tokens go on, stored times are sane."""
    twistd, switches = tmp_path / "twistd", Switches(tmp_path)
    twistd.write_text(HASTY)
    twistd.chmod(0o755)
    folders = os.pathsep.join([switches.environment["PYTHONPATH"], str(ROOT)])
    environment = {**switches.environment, "PYTHONPATH": folders, "HANDY_MASTER_SECRET": "only of tests"}
    with (
        scratch_database() as dsn,
        operated(
            tmp_path, *OPTIONS, environment={**environment, "DATABASE_URL": dsn}, twistd=twistd
        ) as server,
    ):
        server.start()
        customer = Customer(server, switches)
        first, second = customer.new_session("first"), customer.new_session("second")
        [(_, before)] = psql(dsn, ROW, (first,))
        with customer.socket() as link:
            hears_pings(link, 1)
            assert goes_on(customer, dsn, link, first, -HOUR) == before
            assert abs(goes_on(customer, dsn, link, second, HOUR) - before - HOUR) < HOUR / 2
        assert server.stop()[0] == 0
        assert "Traceback" not in server.log
