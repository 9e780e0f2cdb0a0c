"""Every scenario against a whole server: short, and judged by what it found, never by how fast it was."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.utils import getProcessOutputAndValue

import happy
from happy.realtime.updates import Update
from happy.settings.config import Config
from tests.live.case import LiveCase
from tests.web.test_live import certificate


class BenchCase(LiveCase):
    """Runs the tool in a process of its own."""

    async def bench(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """The exit status, the report, and what went to the terminal."""
        folder = tempfile.TemporaryDirectory(prefix="happy-bench-")
        self.addCleanup(folder.cleanup)
        report = Path(folder.name, "report.json")
        command = [
            "-m",
            "happy.operator.ctl",
            "bench",
            self.url,
            *arguments,
            "--json",
            str(report),
            "--warmup",
            "0",
            "--patience",
            "3",
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(happy.__file__).parents[1])}
        output, errors, status = await getProcessOutputAndValue(sys.executable, command, environment)
        assert status < 2, errors.decode()
        assert errors == b""
        return status, msgspec.json.decode(report.read_bytes()), output.decode()

    async def clean(self, *arguments: str) -> dict[str, Any]:
        """The report of a run that found nothing wrong."""
        status, report, _ = await self.bench(*arguments)
        assert (report["errors"], report["lost"], report["duplicated"]) == ({}, 0, 0)
        assert (report["reordered"], report["unstored"]) == (0, 0)
        assert status == 0
        return report


class ScenarioTests(BenchCase):
    """A clean run of each."""

    async def test_messages_through_sockets(self) -> None:
        """Senders of one account through two workers, and the server's use of CPU and memory is seen."""
        report = await self.clean(
            "messages", "--seconds", "0.5", "--senders", "3", "--accounts", "1", "--workers", "2"
        )
        assert report["measures"]["messages"]["count"] > 0
        assert report["use"]["server"]["memory_mib_most"] > 1

    async def test_messages_through_http(self) -> None:
        """Batches are counted by message."""
        report = await self.clean(
            "messages", "--seconds", "0.5", "--senders", "2", "--via", "http", "--batch", "7"
        )
        assert report["measures"]["messages"]["count"] % 7 == 0 < report["measures"]["messages"]["count"]

    async def test_fanout(self) -> None:
        """Every delivery is counted."""
        measures = (await self.clean("fanout", "--seconds", "0.5", "--sockets", "20"))["measures"]
        assert measures["deliveries"]["count"] == 20 * measures["fanout"]["count"] > 0

    async def test_rpc(self) -> None:
        """Calls come back with their own answers."""
        arguments = ("--senders", "3", "--targets", "2", "--batch", "2", "--size", "100")
        report = await self.clean("rpc", "--seconds", "0.5", *arguments)
        assert report["measures"]["calls"]["count"] > 0

    async def test_idle(self) -> None:
        """All sockets are held."""
        report = await self.clean("idle", "--seconds", "0.1", "--sockets", "90")
        assert report["figures"]["sockets"] == 90

    async def test_connect(self) -> None:
        """All sockets get in, from several addresses."""
        arguments = ("--senders", "8", "--addresses", "3", "--workers", "2")
        report = await self.clean("connect", "--sockets", "30", *arguments)
        assert report["measures"]["connections"]["count"] == 30

    async def test_history(self) -> None:
        """A session is read in both directions."""
        measures = (await self.clean("history", "--messages", "250", "--size", "10"))["measures"]
        assert measures["stored"]["count"] == 250
        assert (measures["pages forwards"]["count"], measures["pages backwards"]["count"]) == (3, 3)

    async def test_profile(self) -> None:
        """Everybody does something, at the rates of the profile, and others come and break off."""
        arguments = ("--seconds", "2", "--scale", "0.01", "--passing", "10")
        measures = (await self.clean("profile", *arguments))["measures"]
        assert measures["passers"]["count"] >= 12
        assert abs(measures["session heartbeats"]["count"] - 100) <= 2
        assert measures["messages"]["count"] >= 3
        assert {"posts", "calls", "machine heartbeats"} <= set(measures)


class TlsTests(BenchCase):
    """Against a server that speaks TLS."""

    def config(self) -> Config:
        """Listen with a certificate that the tool is told to trust."""
        folder = tempfile.TemporaryDirectory(prefix="happy-bench-")
        self.addCleanup(folder.cleanup)
        self.certificate = certificate(Path(folder.name))
        listen = f"ssl:0:interface=127.0.0.1:privateKey={self.certificate}"
        return replace(super().config(), listen=(listen,))

    @property
    def url(self) -> str:
        """Where the server listens."""
        return super().url.replace("http://127.0.0.1", "https://localhost")

    async def test_messages(self) -> None:
        """Sockets and requests go through TLS, whole pages of the history as well."""
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": str(self.certificate)})
        load = ("--seconds", "0.5", "--senders", "2", "--via", "http", "--batch", "50")
        report = await self.clean("messages", *load)
        assert report["measures"]["messages"]["count"] > 0

    async def test_stranger(self) -> None:
        """A certificate that nobody vouches for is refused in plain words."""
        with self.assertRaisesRegex(AssertionError, "TLS: CERTIFICATE_VERIFY_FAILED"):
            await self.clean("fanout", "--sockets", "1")


class FaultTests(BenchCase):
    """What the tool says about a server that does wrong."""

    async def test_lost_sockets_come_back(self) -> None:
        """Clients that are cut off come back; what was confirmed is there, and the cut is an error."""
        hub, heard = self.running.server.hub, 0
        deliver = hub.deliver

        def cut(update: Update) -> None:
            nonlocal heard
            deliver(update)
            heard += type(update.body).__name__ == "NewMessage"
            if heard == 3:
                heard += 1
                for account in list(hub._accounts.values()):
                    for client in [
                        *account.users,
                        *(one for room in account.sessions.values() for one in room),
                    ]:
                        client.socket.close()

        self.patch(hub, "deliver", cut)
        status, report, shown = await self.bench("profile", "--seconds", "4", "--scale", "0.01")
        assert status == 1
        assert [report[name] for name in ("lost", "duplicated", "reordered", "unstored")] == [0, 0, 0, 0]
        assert report["measures"]["reconnections"]["count"] > 0
        assert all(reason.startswith("socket lost: ") for reason in report["errors"])
        assert "x socket lost: " in shown

    async def test_undelivered_updates_are_lost(self) -> None:
        """Updates that the server keeps to itself are counted."""
        hub, heard = self.running.server.hub, 0
        deliver = hub.deliver

        def forget(update: Update) -> None:
            nonlocal heard
            heard += type(update.body).__name__ == "NewMessage"
            if heard % 5 != 3:
                deliver(update)

        self.patch(hub, "deliver", forget)
        status, report, _ = await self.bench(
            "messages", "--via", "http", "--seconds", "0.3", "--senders", "1"
        )
        assert status == 1
        assert report["lost"] > 0
        assert (report["duplicated"], report["reordered"]) == (0, 0)

    async def test_repeated_updates_are_duplicates(self) -> None:
        """Updates that come twice are counted, and break the order of the account's numbers."""
        hub = self.running.server.hub
        deliver = hub.deliver

        def repeat(update: Update) -> None:
            deliver(update)
            deliver(update)

        self.patch(hub, "deliver", repeat)
        status, report, _ = await self.bench(
            "messages", "--via", "http", "--seconds", "0.3", "--senders", "1"
        )
        assert (status, report["lost"]) == (1, 0)
        assert report["duplicated"] > 0
        assert report["reordered"] > 0
