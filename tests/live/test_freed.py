"""Nothing stays of what was broken off: objects are counted while Python's collector is off."""

from __future__ import annotations

import gc
import os
import socket
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.http import HTTPChannel, Request

from happy.api.pieces import _Written
from happy.base.bounds import Holding
from happy.web.fastrequests import FastRequest
from happy.web.files import FilePieces
from happy.web.streaming import OnePiece, Stream
from tests.live.case import LiveCase

KINDS = (HTTPChannel, Request, FastRequest, Stream, OnePiece, _Written, FilePieces, Holding)
PATIENCE = 10.0
SIZE = 2_500_000
STAGES = (0, 1, 300_000)
"""Bytes of the answer that are read before the end."""


def alive() -> Counter[str]:
    """How many objects of each kind there are."""
    return Counter(type(found).__name__ for found in gc.get_objects() if isinstance(found, KINDS))


class FreedTests(LiveCase):
    """Requests with much to receive or to send, by clients that do not stay."""

    timeout = 120

    async def setUp(self) -> None:
        await super().setUp()
        phone = await self.new_phone()
        session = (await phone.create_session("work", {})).id
        self.head = f"Host: x\r\nAuthorization: Bearer {phone.token}\r\n"
        self.file = f"/v1/sessions/{session}/attachments/a.enc"
        binary = {"content-type": "application/octet-stream"}
        stored = await phone.request("PUT", self.file, content=os.urandom(3 * SIZE), headers=binary)
        self.assertEqual(stored.status, 200)
        for number in range(5):
            await phone.request("POST", "/v1/sessions", {"tag": f"{number}", "metadata": "m" * 300_000})
        await phone.request("POST", "/v1/account/settings", {"settings": "s" * SIZE, "expectedVersion": 0})
        self.site: Any = self.running.ports[0].factory  # type: ignore[attr-defined]
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]
        gc.collect()
        gc.freeze()  # What is there by now is not looked at any more.
        gc.disable()
        self.addCleanup(gc.enable)
        self.addCleanup(gc.unfreeze)

    def config(self) -> Any:
        """Serves a web app with a large file."""
        config = super().config()
        app = Path(self.folder, "app")
        app.mkdir()
        (app / "index.html").write_text("<head></head>" + "x" * 200_000)
        (app / "large.js").write_bytes(bytes(SIZE))
        return replace(config, webapp=app)

    def requests(self) -> dict[str, bytes]:
        """What is asked, by what it is."""
        upload = f"PUT {self.file} HTTP/1.1\r\nContent-Type: application/octet-stream\r\n{self.head}"
        heads = {
            "list": f"GET /v1/sessions HTTP/1.1\r\n{self.head}",
            "list of old": f"GET /v2/sessions HTTP/1.0\r\n{self.head}",
            "value": f"GET /v1/account/settings HTTP/1.1\r\n{self.head}",
            "download": f"GET {self.file} HTTP/1.1\r\n{self.head}",
            "page": f"GET / HTTP/1.1\r\nAccept: text/html\r\n{self.head}",
            "file of the app": f"GET /large.js HTTP/1.1\r\n{self.head}",
            "part": f"GET /large.js HTTP/1.1\r\nRange: bytes=9-\r\n{self.head}",
            "head": f"HEAD /v1/sessions HTTP/1.1\r\n{self.head}",
            "two at once": f"GET / HTTP/1.1\r\n{self.head}\r\nGET /large.js HTTP/1.1\r\n{self.head}",
            "refused": f"GET /v2/sessions?limit=0 HTTP/1.1\r\n{self.head}",
            "not found": f"GET /v1/sessions/x/messages HTTP/1.1\r\n{self.head}",
            "half a head": "GET / HTTP/1.1\r\nHost",
        }
        bodies = {
            "upload": (f"{upload}Content-Length: {SIZE}\r\n", bytes(SIZE // 2)),
            "upload in chunks": (f"{upload}Transfer-Encoding: chunked\r\n", b"ffff\r\n" + bytes(0xFFFF)),
        }
        return {
            **{name: f"{head}\r\n".encode() for name, head in heads.items()},
            **{name: f"{head}\r\n".encode() + body for name, (head, body) in bodies.items()},
        }

    def break_off(self, request: bytes, stage: int, how: str) -> None:
        """Ask, read so much of the answer, and go away."""
        port = self.running.ports[0].getHost().port
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(0.1)
            client.sendall(request)
            if how == "half":
                client.shutdown(socket.SHUT_WR)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            read = 0
            try:
                while read < stage and (data := client.recv(65_536)):
                    read += len(data)
            except (TimeoutError, ConnectionError):
                pass  # There is no more to read.

    async def gone(self, what: str) -> None:
        """Wait until nothing is left."""
        for _ in range(round(PATIENCE / 0.01)):
            left = alive()
            if not left:
                return
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.fail(f"{what}: {dict(left)} are left")

    async def test_broken_off(self) -> None:
        """Whatever is broken off at whatever stage, in whatever way, everything of it is freed by itself."""
        memory = self.running.server.memory
        before = memory.used
        for name, request in self.requests().items():
            for how in ("reset", "close", "half"):
                for stage in STAGES:
                    await deferToThread(self.break_off, request, stage, how)
                await self.gone(f"{name}, {how}")
        self.assertEqual(memory.used, before)
        self.assertEqual(self.complaints, [])

    async def test_server_stops(self) -> None:
        """An answer that is under way when the server stops goes with it."""
        client = await deferToThread(self.begin, self.requests()["download"])
        self.assertTrue(self.site.router.work)
        await self.running.stop()
        client.close()
        await self.gone("a download")

    def begin(self, request: bytes) -> socket.socket:
        """A client that has read the beginning of its answer."""
        port = self.running.ports[0].getHost().port
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(request)
        client.recv(1)
        return client
