"""The short cuts of a whole server: taken, and switched off together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor, tcp

from happy.socketio.reading import ReadingWebSocket
from happy.socketio.websocket import EngineWebSocket
from happy.web.request import HappyRequest
from tests.live.case import LiveCase

GENERAL = {
    "opening": (EngineWebSocket, "slim"),
    "frames": (ReadingWebSocket, "consume"),
    "requests": (HappyRequest, "requestReceived"),
}
"""What only the general way of each does, beside those of the reactor and its connections."""


class ShortcutsCase(LiveCase):
    """``general`` counts what went the general way, since the server is there."""

    async def setUp(self) -> None:
        await super().setUp()
        self.general = dict.fromkeys([*GENERAL, "writes"], 0)
        for name, (kind, method) in GENERAL.items():
            self.patch(kind, method, self._counting(name, getattr(kind, method)))
        self.patch(tcp.Server, "write", self._counting("writes", tcp.Server.write))

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **named: Any) -> Any:
            self.general[name] += 1
            return function(*arguments, **named)

        return count

    async def use(self) -> None:
        """A request, a connection, and an event with its answer."""
        account = await self.new_phone()
        socket = await self.connect(account)
        await socket.call("ping")


class TakenTests(ShortcutsCase):
    """As they are."""

    async def test_taken(self) -> None:
        """What is usual goes past the libraries, from the reactor to the frame."""
        await self.use()
        self.assertEqual(self.general, dict.fromkeys(self.general, 0))
        self.assertIn("doIteration", vars(reactor))


class SwitchedOffTests(ShortcutsCase):
    """For diagnosis."""

    settings = {"shortcuts": False}  # noqa: RUF012 - nobody changes it

    async def test_not_taken(self) -> None:
        """One switch leaves everything to the libraries."""
        await self.use()
        self.assertTrue(all(self.general.values()), self.general)
        self.assertNotIn("doIteration", vars(reactor))
