"""What an operator reads in the log of a server, and signals that do not end it."""

from __future__ import annotations

import json
import re
import signal
import tempfile
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from happy.client import AccountKeys, RemoteServer, Scope, SocketRefused, open_socket, sign_in
from tests.live.serving import Served, free_port

HARMLESS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGPIPE, signal.SIGALRM, signal.SIGHUP)
REFUSED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ refused 127\.0\.0\.1: (.*)")


class EventsTests(TestCase):
    """A server in a process of its own, with a log in JSON."""

    timeout = 120

    async def test_a_day(self) -> None:
        """Who comes, goes and is refused is in the log; of signals only those to stop end the server."""
        with tempfile.TemporaryDirectory() as name:
            self.folder = Path(name)
            self.metrics = free_port()
            options = ("--log-format=json", "--auth-log=auth.log", f"--metrics-port={self.metrics}")
            served = Served(self.folder, *options)
            try:
                await served.start()
                await self._come_and_go(served)
                await self._bear_signals(served)
            finally:
                self.assertEqual(await served.stop(), 0)
        self._check([json.loads(line) for line in served.log.decode().splitlines()])

    async def _come_and_go(self, served: Served) -> None:
        remote = RemoteServer(served.url, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(remote.close()))
        account = await sign_in(remote, AccountKeys.generate())
        socket = await account.open_socket(Scope.machine("machine-of-this-test"))
        await socket.close()
        for token in ("nonsense", _with_another_signature(account.token)):
            with self.assertRaises(SocketRefused):
                await open_socket(remote, token, Scope.user())
        await served.said(b"device-offline")

    async def _bear_signals(self, served: Served) -> None:
        (self.folder / "auth.log").rename(self.folder / "auth.log.1")
        for number in HARMLESS:
            served.kill(number)
        await served.said(b"SIGHUP")
        response = await treq.post(
            f"{served.url}/v1/auth",
            json=dict.fromkeys(("publicKey", "challenge", "signature"), "AAAA"),
            persistent=False,
        )
        self.assertEqual(response.code, 401)
        self.assertEqual(self._refused("auth.log.1"), ["not a token of ours", "token of another secret"])
        self.assertEqual(self._refused("auth.log"), ["wrong signature"])
        answer = await treq.get(f"http://127.0.0.1:{self.metrics}/ready", persistent=False)
        self.assertEqual(await treq.json_content(answer), {"ready": True, "reasons": []})

    def _refused(self, name: str) -> list[str]:
        lines = (self.folder / name).read_text().splitlines()
        return [found[1] for line in lines if (found := REFUSED.fullmatch(line))]

    def _check(self, lines: list[dict[str, Any]]) -> None:
        told = [line["event"] for line in lines if "event" in line]
        for event in ("ready", "account-made", "device-online", "device-offline", "login-refused"):
            self.assertIn(event, told)
        ready = next(line["message"] for line in lines if line.get("event") == "ready")
        self.assertRegex(ready, r"at http://\S+:\d+, 0 accounts, registration open, PostgreSQL \d+")
        online = next(line for line in lines if line.get("event") == "device-online")
        self.assertEqual(online["name"], "Machine machin")
        self.assertRegex(online["account"], r"^\w{6}$")
        self.assertNotIn("127.0.0.1", " ".join(line["message"] for line in lines if line is not ready))


def _with_another_signature(token: str) -> str:
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{signature[:5]}{'B' if signature[5] == 'A' else 'A'}{signature[6:]}"
