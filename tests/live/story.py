"""A whole server, and the people who use it."""

from __future__ import annotations

import time
from typing import Any

from happy.client import (
    Account,
    Cipher,
    Session,
    Socket,
    TerminalPairing,
)
from tests.live.case import LiveCase


def now() -> int:
    """The time in epoch milliseconds."""
    return int(time.time() * 1000)


class StoryCase(LiveCase):
    """Devices of one account."""

    async def pair(self, phone: Account, *, v2: bool = True) -> Account:
        """A terminal that the phone let in."""
        pairing = TerminalPairing(self.remote(client="cli-coding-session/1"), v2=v2)
        assert await pairing.poll() is None
        await phone.approve_terminal(pairing.public_key)
        return await pairing.wait()

    async def work(self) -> tuple[Account, Account, Session]:
        """A phone, a terminal, and a session of the terminal."""
        phone = await self.new_phone()
        terminal = await self.pair(phone)
        session = await terminal.create_session("tag", {"path": "/home/me"})
        return phone, terminal, session

    async def heard(self, socket: Socket, cipher: Cipher, seq: int) -> Any:
        """The opened content of the message with this number."""
        update = await socket.next_update(lambda update: update["body"].get("message", {}).get("seq") == seq)
        return cipher.open(update["body"]["message"]["content"]["c"])
