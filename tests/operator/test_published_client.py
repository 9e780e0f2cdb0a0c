"""The published ``happy`` program, unmodified, while the operator moves server, account and secret.

A phone, made of the Python client, talks with a session that the program's own client serves: what the person
says is answered, and noted in the session's state. The program's daemon serves the machine.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from happy.client import Account, AccountKeys, RemoteServer, Session, call_sealed, sign_in
from tests.harness import scratch_database
from tests.live.computer import PATIENCE, Computer, Program, happy_program, soon
from tests.live.serving import Served
from tests.operator.case import run
from tests.operator.test_backup import ENVIRONMENT

QUIET = {"METRICS_ENABLED": "false"}
OTHER_SECRET = "the secret of somebody else's server"
REVOKED = "Error: Request failed with status code 401"
"""What the program says when its token is refused, and nothing that a server sends changes that."""


def needs_a_network() -> None:
    """The program does not come back while its computer has a loopback only. Raises SkipTest."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            raise SkipTest("there is no network but the loopback") from None


class PublishedClientTests(TestCase):
    """One life: moved with the server, under another secret, thrown out, and let in elsewhere."""

    @classmethod
    def setUpClass(cls) -> None:
        happy_program()
        needs_a_network()

    async def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="happy-life-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.patch(os, "environ", {k: v for k, v in os.environ.items() if k not in ENVIRONMENT})
        self.talk: list[Any] = []

    async def test_life(self) -> None:
        """Whatever the operator does, everything is found again, and who may go on goes on."""
        server = await self.serve("first")
        self.computer = Computer(self.folder / "laptop", server.url)
        self.addCleanup(self.computer.end)
        self.phone = await sign_in(self.remote(server), AccountKeys.generate())
        await self.computer.pair(self.phone)
        self.until_the_end(self.computer.run("daemon", "start"))
        await self.serve_session()
        await self.goes_on("one")
        server = await self.moves(server)
        await self.rotates(server)
        await self.is_thrown_out()
        await self.goes_elsewhere()

    async def moves(self, server: Served) -> Served:
        """Another server goes on at the same address; the program knows of more than was saved."""
        await self.happyctl("first", "backup", self.folder)
        saved = [*self.talk]
        await self.goes_on("of which there is no copy")
        self.assertEqual(await server.stop(), 0)
        self.talk = saved
        (file,) = self.folder.glob("happy-*.tar")
        await self.happyctl("second", "restore", file)
        server = await self.serve("second", port=server.port)
        await self.goes_on("two")
        return server

    async def rotates(self, server: Served) -> None:
        """Another master secret logs nobody out, neither at once nor when it is taken over."""
        await self.happyctl("second", "secret", "rotate", "--yes")
        await self.goes_on("three")
        self.assertEqual(await server.stop(), 0)
        await self.serve("second", port=server.port)
        await self.goes_on("four")

    async def is_thrown_out(self) -> None:
        """The sockets of what is revoked are closed, and a new start ends."""
        watching = await self.phone.open_socket()
        (machine,) = await self.phone.machines()
        await self.happyctl("second", "revoke", self.phone.id, "--device", machine.id)
        gone = {"type": "machine-activity", "id": machine.id, "active": False}
        await watching.next_ephemeral(lambda signal: gone.items() <= signal.items(), PATIENCE)
        await watching.close()
        program = self.until_the_end(self.computer.run())
        self.assertEqual(await soon(program.exit()), 1, program.text)
        self.assertIn(REVOKED, program.text)

    async def goes_elsewhere(self) -> None:
        """The account comes to a server with another secret; the program is paired anew there."""
        file = self.folder / "account.tar"
        await self.happyctl("second", "accounts", "export", self.phone.id, file)
        with scratch_database() as dsn:
            options = ("--database-url", dsn)
            self.patch(os, "environ", {**os.environ, "HANDY_MASTER_SECRET": OTHER_SECRET})
            server = await self.serve("third", *options, environment={"HANDY_MASTER_SECRET": OTHER_SECRET})
            await self.happyctl("third", *options, "registration", "closed")
            await self.happyctl("third", *options, "accounts", "import", file)
            self.phone = await sign_in(self.remote(server), self.phone.keys)
            self.computer.end()
            self.computer.use(server.url)
            await self.computer.pair(self.phone, "--force")
            await self.serve_session()
            await self.talks("five")
            self.assertEqual(await server.stop(), 0)

    async def goes_on(self, text: str) -> None:
        """The session answers, and the machine obeys."""
        await self.talks(text)
        machine_id = self.computer.kept("settings.json")["machineId"]
        await soon(self.server.said(f"Machine {machine_id[:6]} of".encode()))
        watching = await self.phone.open_socket()
        (machine,) = await self.phone.machines()
        command = {"command": "echo here", "cwd": str(self.computer.work)}
        answer = await call_sealed(watching, machine.cipher, f"{machine.id}:bash", command)
        self.assertEqual(answer["stdout"].strip(), "here", answer)
        await watching.close()

    async def talks(self, text: str) -> None:
        """The phone finds all that was said, and a message is answered and noted."""
        self.phone = Account(self.remote(self.server), self.phone.token, self.phone.keys)
        watching = await self.phone.open_socket()
        (session,) = await self.phone.sessions()
        self.assertEqual(await self.heard(session), self.talk)
        asked = {"role": "user", "content": {"type": "text", "text": text}}
        (sent,) = await self.phone.send_messages(session, [asked])
        state = await watching.next_update("update-session", PATIENCE)
        self.assertEqual(session.cipher.open(state["body"]["agentState"]["value"]), {"heard": text})
        await watching.next_update(
            lambda update: update["body"].get("message", {}).get("seq") == sent.seq + 1, PATIENCE
        )
        self.talk = await self.heard(session)
        self.assertEqual(self.talk[-2], asked)
        self.assertEqual(self.talk[-1]["content"]["data"]["message"], f"heard {text}")
        await watching.close()

    async def heard(self, session: Session) -> list[Any]:
        """What was said in the session, opened."""
        return [message.value for message in (await self.phone.messages(session)).messages]

    async def happyctl(self, name: str, *arguments: object) -> None:
        """A command of the operator of the server of this name, which goes well."""
        data = self.folder / name / "data"
        ran = await deferToThread(run, [*map(str, arguments), "--data-dir", str(data)])
        self.assertEqual(ran.status, 0, ran.err)

    async def serve_session(self) -> None:
        """Let the program's client serve a session: a new one, or the one of before."""
        program = self.until_the_end(self.computer.serve_session())
        await soon(program.shows("session .*[.]"))

    def until_the_end(self, program: Program) -> Program:
        """A program that goes with the test."""
        self.addCleanup(lambda: Deferred.fromCoroutine(program.end()))
        return program

    async def serve(self, name: str, *options: str, **more: Any) -> Served:
        """Start the server of this name."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        environment = {**QUIET, **more.pop("environment", {})}
        self.server = server = Served(folder, *options, environment=environment, **more)
        self.addCleanup(lambda: self.ends(server))
        await server.start()
        return server

    def ends(self, server: Served) -> Deferred[int]:
        """End the process of a server, if it still runs."""
        server.kill(signal.SIGKILL)
        return server.exited()

    def remote(self, server: Served) -> RemoteServer:
        """A server as a new process sees it."""
        remote = RemoteServer(server.url, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(remote.close()))
        return remote
