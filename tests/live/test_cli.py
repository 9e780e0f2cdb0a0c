"""The published ``happy`` program, unmodified, against this server: a short part of its day."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred

from happy.base.codecs import encode_base64
from happy.client import Account, Cipher, call_sealed
from tests.live.case import LiveCase
from tests.live.computer import PATIENCE, Computer, Program, happy_program, soon

APPROVED = "approvedNewDirectoryCreation"


class CliTests(LiveCase):
    """A phone made of the Python client, and a computer with the real program."""

    @classmethod
    def setUpClass(cls) -> None:
        happy_program()

    async def setUp(self) -> None:
        await super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="happy-cli-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.computer = Computer(Path(folder.name), self.url)
        self.addCleanup(self.computer.end)
        self.phone = await self.new_phone()
        self.watching = await self.connect(self.phone)

    async def test_day(self) -> None:
        """It pairs, its daemon comes online and obeys calls, starts a session, and goes offline again."""
        await self.pair()
        machine, cipher = await self.daemon()
        folder = self.computer.work / "new"
        asked = {"type": "spawn-in-directory", "directory": str(folder), "agent": "claude"}
        spawn = f"{machine}:spawn-happy-session"
        answer = await call_sealed(self.watching, cipher, spawn, asked | {APPROVED: False})
        self.assertEqual(answer["type"], "requestToApproveDirectoryCreation")
        answer = await call_sealed(self.watching, cipher, spawn, asked | {APPROVED: True})
        self.assertEqual(answer["type"], "success", answer)
        await self.serves(answer["sessionId"], folder)
        await call_sealed(self.watching, cipher, f"{machine}:stop-daemon", {})
        await self.sees(machine, active=False)
        self.assertEqual(self.complaints, [])

    def run_happy(self, *arguments: str) -> Program:
        """Start the program; it goes with the test."""
        program = self.computer.run(*arguments)
        self.addCleanup(lambda: Deferred.fromCoroutine(program.end()))
        return program

    async def pair(self) -> None:
        """Log in; what is kept is the account's."""
        await self.computer.pair(self.phone)
        credentials = self.computer.kept("access.key")
        public_key = encode_base64(self.phone.keys.content_public_key)
        self.assertEqual(credentials["encryption"]["publicKey"], public_key)
        terminal = Account(self.server, credentials["token"], self.phone.keys)
        self.assertEqual(terminal.id, self.phone.id)

    async def daemon(self) -> tuple[str, Cipher]:
        """Start the daemon; its machine's id and cipher, once it serves calls."""
        program = self.run_happy("daemon", "start")
        self.assertEqual(await soon(program.exit()), 0, program.text)
        machine = self.computer.kept("settings.json")["machineId"]
        body = (await self.watching.next_update("new-machine", PATIENCE))["body"]
        self.assertEqual(body["machineId"], machine)
        await self.sees(machine, active=True)
        cipher = self.phone.keys.cipher_of(body["dataEncryptionKey"])
        self.assertEqual(cipher.open(body["metadata"])["happyHomeDir"], str(self.computer.happy_home))
        return machine, cipher

    async def serves(self, session: str, folder: Path) -> None:
        """What the program says of a session that it began; a call to it."""
        body = (await self.watching.next_update("new-session", PATIENCE))["body"]
        self.assertEqual(body["id"], session)
        cipher = self.phone.keys.cipher_of(body["dataEncryptionKey"])
        metadata = cipher.open(body["metadata"])
        self.addCleanup(_end, metadata["hostPid"])
        self.assertEqual(Path(metadata["path"]).resolve(), folder.resolve())
        await self.watching.next_ephemeral(
            lambda signal: signal["type"] == "activity" and signal["id"] == session, PATIENCE
        )
        said = await call_sealed(
            self.watching, cipher, f"{session}:bash", {"command": "echo from-session", "timeout": 5000}
        )
        self.assertIn("from-session", said["stdout"])

    async def sees(self, machine: str, *, active: bool) -> None:
        """The phone is told that the machine comes or goes."""
        await self.watching.next_ephemeral(
            lambda signal: (
                signal["type"] == "machine-activity"
                and signal["id"] == machine
                and signal["active"] is active
            ),
            PATIENCE,
        )


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
