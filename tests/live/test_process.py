"""``twistd happy`` as operators run it: started, stopped, killed, and told nonsense."""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed

from happy import __version__
from happy.base.codecs import encode_base64, encode_hex
from happy.base.errors import StartupError
from happy.client import Account, AccountKeys, Disconnected, RemoteServer, Session, sign_in
from happy.keys.master_secret import FILE_NAME
from happy.postgres.orphans import process_gone, recorded_pid
from happy.service import composition, holding
from happy.settings.config import Config
from tests.harness import scratch_database
from tests.live.serving import PATIENCE, Served

SECRET = "an operator's own secret"
WRITERS = 4
GONE = (ConnectError, ConnectionLost, ResponseFailed, Disconnected)
"""What a client meets when its server is not there any more."""


class Customers:
    """An account with a session, its devices writing and listening; they outlive their server."""

    def __init__(self) -> None:
        self.keys = AccountKeys.generate()
        self.acknowledged: dict[str, int] = {}
        self.heard: set[str] = set()
        self.said: set[str] = {encode_base64(self.keys.public_key), encode_hex(self.keys.public_key)}
        self.account: Account
        self.session: Session
        self._waiting: list[tuple[int, Deferred[None]]] = []

    async def come(self, served: Served) -> None:
        """Sign in and go on with the session."""
        await self.leave()
        self.account = await sign_in(RemoteServer(served.url, reactor), self.keys)
        self.session = await self.account.create_session("tag", {"path": "/"})
        self.said |= {self.account.token, *self.keys.login().values(), self.session.record.metadata}

    async def leave(self) -> None:
        """Close idle connections."""
        if self.acknowledged or self.heard:
            await self.account.server.close()

    def enough(self, more: int = 40) -> Deferred[None]:
        """Fires when so many more messages were acknowledged."""
        reached: Deferred[None] = Deferred()
        self._waiting.append((len(self.acknowledged) + more, reached))
        return reached

    async def live(self) -> None:
        """Write and listen until the server has gone."""
        writing = [self._write(number) for number in range(WRITERS)]
        every = [Deferred.fromCoroutine(work) for work in (*writing, self._listen())]
        await gatherResults(every, consumeErrors=True)

    async def _write(self, writer: int) -> None:
        while True:
            name = f"{writer}-{len(self.acknowledged)}-{os.urandom(4).hex()}"
            sealed = self.session.cipher.seal(name)
            body = {"messages": [{"content": sealed, "localId": name}]}
            try:
                path = f"/v3/sessions/{self.session.id}/messages"
                answer = await self.account.request("POST", path, body)
            except GONE:
                return
            if answer.status != 200:
                assert answer.status == 503, answer.text
                return
            self.said.add(sealed)
            self._acknowledge(name, answer.json()["messages"][0]["seq"])

    def _acknowledge(self, name: str, seq: int) -> None:
        self.acknowledged[name] = seq
        for count, reached in self._waiting:
            if count == len(self.acknowledged):
                reached.callback(None)

    async def _listen(self) -> None:
        socket = await self.account.open_socket(keep=1)

        def hear(update: dict[str, Any]) -> None:
            if update["body"]["t"] == "new-message":
                self.heard.add(update["body"]["message"]["localId"])

        socket.on_update(hear)
        await socket.closed()

    async def check(self) -> None:
        """What was acknowledged or heard is stored, once and in its place."""
        stored: dict[str, int] = {}
        more = True
        while more:
            page = await self.account.messages(self.session, after=len(stored), limit=500)
            stored |= {str(message.record.local_id): message.seq for message in page.messages}
            more = page.more
        assert list(stored.values()) == list(range(1, len(stored) + 1))
        assert self.acknowledged.items() <= stored.items()
        assert self.heard <= stored.keys()


class ProcessCase(TestCase):
    """Servers in an empty folder of their own."""

    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="happy-process-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def serve(self, *options: str, **environment: str) -> Served:
        """Start a server; it goes with the test."""
        served = Served(self.folder, "--metrics-enabled=false", *options, environment=environment)
        self.addCleanup(self._end, served)
        return served

    async def started(self, *options: str, **environment: str) -> Served:
        """A server that serves."""
        served = self.serve(*options, **environment)
        await served.start()
        return served

    async def _end(self, served: Served) -> None:
        served.ready.addErrback(lambda _: None)
        served.kill(signal.SIGKILL)
        await self.within(served.exited())

    async def within(self, waiting: Awaitable[Any]) -> Any:
        """What comes in time."""

        async def wait() -> Any:
            return await waiting

        return await Deferred.fromCoroutine(wait()).addTimeout(PATIENCE, reactor)

    @property
    def postmaster(self) -> int:
        """The process id of the server's PostgreSQL."""
        pid = recorded_pid(self.folder / "data" / "postgres")
        assert pid is not None
        return pid


class LifeTests(ProcessCase):
    """One folder, several lives."""

    async def test_lives(self) -> None:
        """Stopped under load, its database killed, killed itself: what was acknowledged stays, in silence."""
        customers = Customers()
        self.addCleanup(customers.leave)
        logs = [await self.life_until_sigterm(customers)]
        logs.append(await self.life_with_a_killed_database(customers))
        logs.append(await self.life_until_the_second_signal(customers))
        logs.append((self.folder / "data" / "postgres.log").read_bytes())
        secret = (self.folder / "data" / FILE_NAME).read_text().strip()
        for text in {secret, "127.0.0.1", *customers.said, *customers.acknowledged}:
            self.assertNotIn(text.encode(), b"".join(logs))

    async def life_until_sigterm(self, customers: Customers) -> bytes:
        """Begin from nothing, and stop under load: in order, with status 0."""
        served = await self.started()
        self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"data"})
        await customers.come(served)
        living = Deferred.fromCoroutine(customers.live())
        await self.within(customers.enough())
        self.assertEqual(await served.stop(), 0)
        await self.within(living)
        self.told_versions(served.log)
        self.assertNotIn(b"Stopping goes on without", served.log)
        self.assertNotIn(b"Traceback", served.log)
        return served.log

    def told_versions(self, log: bytes) -> None:
        """The first line tells what runs, and on what; once."""
        told = f"Happy server {__version__} on Python {platform.python_version()} and Twisted".encode()
        self.assertIn(told, log.splitlines()[0])
        self.assertEqual(log.count(told), 1)
        self.assertEqual(len(re.findall(rb"PostgreSQL \d+\.\d+ answers", log)), 1)

    async def life_with_a_killed_database(self, customers: Customers) -> bytes:
        """Go on where the first life ended; lose the database and get it back; be killed."""
        served = await self.started()
        await customers.come(served)
        await customers.check()
        living = Deferred.fromCoroutine(customers.live())
        await self.within(customers.enough())
        os.kill(self.postmaster, signal.SIGKILL)
        await self.within(customers.enough())
        postgres = self.postmaster
        served.kill(signal.SIGKILL)
        self.assertEqual(await self.within(served.exited()), -signal.SIGKILL)
        await self.within(process_gone(postgres, reactor))
        await self.within(living)
        self.assertEqual(served.log.count(b"PostgreSQL ended unexpectedly"), 1)
        self.assertNotIn(b"Traceback", served.log)
        return served.log

    async def life_until_the_second_signal(self, customers: Customers) -> bytes:
        """Go on after a violent death; when a stop takes long, a second signal ends it at once."""
        served = await self.started()
        await customers.come(served)
        await customers.check()
        postgres = self.postmaster
        os.kill(postgres, signal.SIGSTOP)
        try:
            served.kill(signal.SIGTERM)
            await self.within(served.said(b"Stopping"))
            served.kill(signal.SIGTERM)
            self.assertEqual(await self.within(served.exited()), 128 + signal.SIGTERM)
        finally:
            os.kill(postgres, signal.SIGCONT)
        await self.within(process_gone(postgres, reactor))
        return served.log


class EarlyStopTests(ProcessCase):
    """A server that is told to stop before it serves."""

    async def stopped_at(self, moment: bytes) -> None:
        served = self.serve()
        served.ready.addErrback(lambda _: None)
        await self.within(served.said(moment))
        self.assertEqual(await served.stop(), 0, served.log.decode())
        self.assertNotIn(b"Ready after", served.log)
        for bad in (b"Traceback", b"Cannot start", b"Stopping goes on without"):
            self.assertNotIn(bad, served.log)

    async def test_stopped_while_starting(self) -> None:
        """It ends in order wherever it is, and the next start makes a server out of what is there."""
        for moment in (b"made a new master secret", b"making a new database", b"applying 0001"):
            await self.stopped_at(moment)
        served = await self.started()
        self.assertEqual(await served.stop(), 0)

    async def test_stopped_while_a_name_is_looked_up(self) -> None:
        """A thread that waits for a name server keeps the process from ending only until its time is up."""
        served = Served(
            self.folder,
            environment={"DATABASE_URL": "postgresql://ann@database.example/happy"},
            runner=(sys.executable, "-c", SILENT_NAME_SERVER),
        )
        self.addCleanup(self._end, served)
        served.ready.addErrback(lambda _: None)
        await self.within(served.said(b"asking for database.example"))
        self.assertEqual(await served.stop(), 1)
        self.assertEqual(served.errors, b"happy: ended, although not everything in the process was over\n")


SILENT_NAME_SERVER = """
import os, socket, time
from happy.service import lifecycle
from twisted.scripts.twistd import run

def wait(name, *rest, **more):
    os.write(1, b"asking for " + name.encode())
    time.sleep(600)

socket.getaddrinfo = wait
lifecycle.STOP_SECONDS = 0.5
run()
"""
"""A server for which nobody knows any address, in a hurry."""


class RefusalTests(ProcessCase):
    """Starts that must fail, each for a reason that one line tells."""

    async def refused(self, *options: str, **environment: str) -> str:
        """The one line that a start ends with."""
        served = self.serve(*options, **environment)
        served.ready.addErrback(lambda _: None)
        status = await self.within(served.exited())
        self.assertEqual(status, 1, served.log)
        for bad in (b"Traceback", SECRET.encode()):
            self.assertNotIn(bad, served.log)
        (line,) = served.errors.decode().splitlines()
        self.assertRegex(line, "^happy: ")
        return line

    async def test_wrong_settings(self) -> None:
        """A setting that makes no sense is named, with an example or what to do; nothing is made."""
        cases = [
            (("--listen=tcp:99999",), {}, "listen"),
            ((), {"HANDY_MASTER_SECRET": ""}, "HANDY_MASTER_SECRET"),
            ((), {"DATABASE_URL": "mysql://root@localhost/happy"}, "DATABASE_URL"),
        ]
        refusals = [Deferred.fromCoroutine(self.refused(*options, **env)) for options, env, _ in cases]
        lines = await gatherResults(refusals, consumeErrors=True)
        for line, (_, _, setting) in zip(lines, cases, strict=True):
            self.assertIn(setting, line)
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_unusable_places(self) -> None:
        """A folder that cannot be written and a port that somebody has are named."""
        line = await self.refused("--data-dir=/proc/happy")
        self.assertIn("/proc/happy", line)
        with scratch_database() as dsn:
            port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")  # type: ignore[attr-defined]
            self.addCleanup(port.stopListening)
            number = port.getHost().port
            line = await self.refused(
                f"--listen=tcp:{number}:interface=127.0.0.1", DATABASE_URL=dsn, HANDY_MASTER_SECRET=SECRET
            )
        self.assertIn(f"tcp:{number}", line)
        self.assertIn("in use", line)

    async def test_unreachable_database(self) -> None:
        """A database that does not come within the time a start waits for it ends the start."""
        self.patch(holding, "PATIENCE", 0.1)
        config = Config(
            data_dir=self.folder,
            database_url="postgresql://ann:hidden@127.0.0.1:1/happy",
            master_secret=SECRET,
        )
        with pytest.raises(StartupError) as refused:
            await composition.Running(config, reactor).start()
        self.assertIn("DATABASE_URL: no connection", str(refused.value))
        self.assertNotIn("hidden", str(refused.value))
