"""A whole server for each test, and clients of it that go with the test."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from happy.client import Account, AccountKeys, RemoteServer, Scope, Socket, sign_in
from happy.service.composition import Running
from happy.settings.config import Config
from tests.harness import DatabaseCase

SECRET = "a secret that only tests use"


class LiveCase(DatabaseCase):
    """Tests against a running server: ``server`` reaches it, ``running`` is its parts.

    Tests of a class share the database; ``embedded`` gives each test a PostgreSQL of its own, as safe as
    an operator's. ``secret`` is the master secret, ``settings`` are further settings of the server.
    ``folder`` is the data folder.
    """

    embedded = False
    secret = SECRET
    settings: dict[str, Any] = {}  # noqa: RUF012 - classes replace it, nobody changes it

    async def setUp(self) -> None:
        self.complaints: list[str] = []
        """What was logged as an error."""
        globalLogPublisher.addObserver(self._listen)
        self.addCleanup(globalLogPublisher.removeObserver, self._listen)
        if not self.embedded:
            self.dsn = self._database_url()
        self.running = self.make_running()
        await self.running.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.running.stop()))
        self.server = self.remote()

    def make_running(self) -> Running:
        """The server under test, which is not started yet."""
        from twisted.internet import reactor

        return Running(self.config(), reactor)

    def _listen(self, event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.error:
            self.complaints.append(formatEvent(event))

    def config(self) -> Config:
        """The settings of the server under test."""
        folder = tempfile.TemporaryDirectory(prefix="happy-live-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        values = {
            "data_dir": self.folder,
            "database_url": None if self.embedded else self.dsn,
            "database_pool": 4,
            "listen": ("tcp:0:interface=127.0.0.1",),
            "master_secret": self.secret,
            "metrics_enabled": False,
            **self.settings,
        }
        return Config(**values)

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.running.ports[0].getHost().port}"

    def remote(self, **options: Any) -> RemoteServer:
        """The server as one more client process sees it."""
        from twisted.internet import reactor

        server = RemoteServer(self.url, reactor, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.close()))
        return server

    async def new_phone(self) -> Account:
        """The first device of a new account; it holds the account secret."""
        return await sign_in(self.remote(), AccountKeys.generate())

    async def connect(self, account: Account, scope: Scope | None = None, **options: Any) -> Socket:
        """A socket that is closed when the test ends."""
        socket = await account.open_socket(scope, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(socket.close()))
        return socket
