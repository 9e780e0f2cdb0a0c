"""Clients that lose their connection and come back, as Node's unmodified socket.io-client tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from happy.client import Account
from happy.service import composition
from tests.live.case import LiveCase
from tests.live.computer import Program
from tests.nodejs import SOCKET_IO_CLIENT, node, node_folder

PEER = Path(__file__).parent / "peers" / "recovery_peer.mjs"
BEGUN = {"at first": False, "start": ["connect", 1]}
ANEW = {"recovered": False, "heard": ["connect"], "same id": False}


class ReturningCase(LiveCase):
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


class Stories:
    """What is so wherever a client comes back to; beside a :class:`ReturningCase`."""

    async def test_lost(self) -> None:
        """Back from a lost connection, it hears what it missed before it hears that it is back."""
        expected = {"recovered": True, "heard": [2, 3, "connect"], "then": [4], "same id": True}
        self.assertEqual(await self.tell("lost"), BEGUN | expected)
        self.assertEqual(self.complaints, [])

    async def test_half_open(self) -> None:
        """So does one whose end the server has not noticed."""
        expected = {"recovered": True, "heard": [2, 3, "connect"], "then": [4], "same id": True}
        self.assertEqual(await self.tell("half-open"), BEGUN | expected)
        self.assertEqual(self.complaints, [])

    async def test_left(self) -> None:
        """One that disconnected of its own will begins anew."""
        self.assertEqual(await self.tell("left"), BEGUN | ANEW)

    async def test_foreign(self) -> None:
        """Another account gets nothing with a stolen private id, and takes nothing away."""
        expected = {"stolen": False, "recovered": True, "heard": ["connect"], "same id": True}
        self.assertEqual(await self.tell("foreign"), BEGUN | expected)


class ForgetfulStories:
    """What is so with room for one event; beside a :class:`ReturningCase`."""

    async def setUp(self) -> None:
        self.patch(composition, "ACCOUNT_BYTES", 1500)
        await super().setUp()

    async def test_too_much(self) -> None:
        """A client for which not all is kept that it missed begins anew."""
        self.assertEqual(await self.tell("lost"), BEGUN | ANEW | {"then": [4]})
