"""Connection state recovery, as Node's unmodified socket.io-client sees it (realtime.md A.14)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from happy.client import Account
from happy.service import composition
from happy.service.composition import Running
from tests.live.case import LiveCase
from tests.live.computer import Program
from tests.nodejs import SOCKET_IO_CLIENT, node, node_folder

PEER = Path(__file__).parent / "peers" / "recovery_peer.mjs"
BEGUN = {"at first": False, "start": ["connect", 1]}


class RecoveryCase(LiveCase):
    """Stories of a client that loses its connection after it heard one update."""

    timeout = 60

    @property
    def urls(self) -> str:
        """Where the client goes first, and, behind a comma, where it comes back to if that is elsewhere."""
        return self.url

    async def begin(self, story: str) -> Program:
        """Let Node play a story."""
        from twisted.internet import reactor

        phone, stranger = await self.new_phone(), await self.new_phone()
        folder = node_folder(SOCKET_IO_CLIENT)
        tokens = [self.token(phone), self.token(stranger)]
        command = [node(), str(PEER), str(folder), self.urls, *tokens, story]
        program = Program()
        reactor.spawnProcess(program, command[0], command, None)  # type: ignore[attr-defined]
        return program

    def token(self, account: Account) -> str:
        """The account's token."""
        assert account.token is not None
        return account.token

    async def report(self, program: Program) -> dict[str, Any]:
        """What Node reported in the end."""
        status = await program.exit()
        assert status == 0, program.text
        return dict(json.loads(line) for line in program.text.splitlines())

    async def tell(self, story: str) -> dict[str, Any]:
        """What came of a story."""
        return await self.report(await self.begin(story))


class RecoveryTests(RecoveryCase):
    """With recovery, which is the default."""

    async def test_lost(self) -> None:
        """Back from a lost connection, it hears what it missed before it hears that it is back."""
        expected = {"recovered": True, "heard": [2, 3, "connect"], "then": [4], "same id": True}
        self.assertEqual(await self.tell("lost"), BEGUN | expected)

    async def test_half_open(self) -> None:
        """So does one whose end the server has not noticed."""
        expected = {"recovered": True, "heard": [2, 3, "connect"], "then": [4], "same id": True}
        self.assertEqual(await self.tell("half-open"), BEGUN | expected)

    async def test_left(self) -> None:
        """One that disconnected of its own will begins anew."""
        expected = {"recovered": False, "heard": ["connect"], "same id": False}
        self.assertEqual(await self.tell("left"), BEGUN | expected)

    async def test_foreign(self) -> None:
        """Another account gets nothing with a stolen private id, and takes nothing away."""
        expected = {"stolen": False, "recovered": True, "heard": ["connect"], "same id": True}
        self.assertEqual(await self.tell("foreign"), BEGUN | expected)

    async def test_restarted(self) -> None:
        """After a restart of the server everybody begins anew."""
        from twisted.internet import reactor

        program = await self.begin("restarted")
        await program.shows("ready")
        port = self.running.ports[0].getHost().port
        self.settings = {"listen": (f"tcp:{port}:interface=127.0.0.1",)}
        await self.running.stop()
        self.running = Running(self.config(), reactor)
        await self.running.start()
        expected = {"ready": True, "recovered": False, "same id": False}
        self.assertEqual(await self.report(program), BEGUN | expected)

    async def test_python_client(self) -> None:
        """Our own client, continued after a loss, hears what it missed."""
        phone = await self.new_phone()
        socket = await self.connect(phone)
        await phone.create_session("1", {})
        await socket.next_update("new-session")
        socket.abort()
        await socket.closed()
        missed = await phone.create_session("2", {})
        again = await self.connect(phone, after=socket)
        assert (again.recovered, again.id) == (True, socket.id)
        update = await again.next_update("new-session")
        assert update["body"]["id"] == missed.id
        assert again.untaken("update") == []


class ForgetfulTests(RecoveryCase):
    """With room for one event."""

    async def setUp(self) -> None:
        self.patch(composition, "ACCOUNT_BYTES", 1500)
        await super().setUp()

    async def test_too_much(self) -> None:
        """A client for which not all is kept that it missed begins anew."""
        report = await self.tell("lost")
        expected = {"recovered": False, "heard": ["connect"], "then": [4], "same id": False}
        self.assertEqual(report, BEGUN | expected)


class SwitchedOffTests(RecoveryCase):
    """Without recovery."""

    settings = {"recovery": False}  # noqa: RUF012

    async def test_lost(self) -> None:
        """Everybody who comes back begins anew."""
        report = await self.tell("lost")
        expected = {"recovered": False, "heard": ["connect"], "then": [4], "same id": False}
        self.assertEqual(report, BEGUN | expected)
