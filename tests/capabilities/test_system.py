"""Banner, health, public files and the log sink."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from tests.capabilities.asking import CapabilityCase

SINK = "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging"


class Database:
    """A database whose only answer is ``outcome``."""

    def __init__(self, outcome: Deferred[Any]) -> None:
        self.outcome = outcome

    async def ping(self) -> None:
        await self.outcome


class SystemTests(CapabilityCase):
    """The open endpoints."""

    async def test_banner(self) -> None:
        """The app finds exactly this text; a server with a web app has its page there instead."""
        answer = await self.ask("GET", "/")
        self.assertEqual(answer.content, b"Welcome to Happy Server!")
        self.assertEqual(answer.content_type, "text/plain; charset=utf-8")
        self.change(config=replace(self.config, webapp=Path("web")))
        self.assertEqual((await self.ask("GET", "/")).status, 404)

    async def test_healthy(self) -> None:
        """A server that reaches its database says so, with the time in milliseconds."""
        answer = await self.ask("GET", "/health")
        body = answer.json
        self.assertRegex(body.pop("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual((answer.status, body), (200, {"status": "ok", "service": "happy-server"}))

    async def test_without_database(self) -> None:
        """A database that fails, or does not answer within three seconds, is reported with 503."""
        clock = Clock()
        self.change(clock=clock, now=clock.seconds, database=Database(fail(OSError())))
        failing = await self.ask("GET", "/health")
        self.change(clock=clock, database=Database(Deferred()))
        hanging = Deferred.fromCoroutine(self.ask("GET", "/health"))
        clock.advance(3)
        for answer in (failing, await hanging):
            self.assertEqual((answer.status, answer.json["status"]), (503, "error"))
            self.assertEqual(answer.json["error"], "Database connectivity failed")

    async def test_public_files(self) -> None:
        """Files below public/ are served with type, long cache time and nosniff (D33)."""
        place = self.folder / "public/users/a"
        place.mkdir(parents=True)
        (place / "x.png").write_bytes(b"picture")
        answer = await self.ask("GET", "/files/public/users/a/x.png")
        self.assertEqual((answer.status, answer.content, answer.content_type), (200, b"picture", "image/png"))
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertIn("max-age=31536000", answer.headers["cache-control"])

    async def test_other_files(self) -> None:
        """Everything that is not a file below public/ does not exist (D19, D33)."""
        (self.folder / "sessions/s/attachments").mkdir(parents=True)
        (self.folder / "sessions/s/attachments/f").write_bytes(b"secret")
        (self.folder / "public").mkdir()
        (self.folder / "public/link").symlink_to("/etc/passwd")
        for path in (
            "sessions/s/attachments/f",
            "public",
            "public/",
            "public/no",
            "public/link",
            "public/a%00",
            "x",
        ):
            answer = await self.ask("GET", f"/files/{path}")
            self.assertEqual((answer.status, answer.content), (404, b"Not found"), path)

    async def test_outside(self) -> None:
        """The folder itself and what is outside of it is forbidden, however it is spelled."""
        for path in ("", ".", "%2e%2e/x", "public/..%2F../etc/passwd", "%2Fetc/passwd", "public/.."):
            answer = await self.ask("GET", f"/files/{path}")
            self.assertEqual((answer.status, answer.content), (403, b"Forbidden"), path)

    async def test_no_files_with_s3(self) -> None:
        """With another store there is nothing to serve."""
        self.change(config=replace(self.config, s3_host="s3.test"))
        self.assertEqual((await self.ask("GET", "/files/public/x")).status, 404)

    async def test_log_sink(self) -> None:
        """The sink does not exist by default; switched on, it writes the message at its level."""
        line = {"timestamp": "12:00", "level": "warning", "message": "{hello}", "source": "cli"}
        self.assertEqual((await self.ask("POST", SINK, line)).status, 404)
        self.change(config=replace(self.config, debug_log=True))
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.assertEqual((await self.ask("POST", SINK, line)).json, {"success": True})
        [event] = [event for event in events if event.get("text") == "{hello}"]
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual((await self.ask("POST", SINK, {**line, "source": "web"})).status, 400)
