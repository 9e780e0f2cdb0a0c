"""Connection state recovery, as Node's unmodified socket.io-client sees it (realtime.md A.14)."""

from __future__ import annotations

from happy.service.composition import Running
from tests.live.returning import ANEW, BEGUN, ForgetfulStories, ReturningCase, Stories


class RecoveryTests(Stories, ReturningCase):
    """With recovery, which is the default."""

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


class ForgetfulTests(ForgetfulStories, ReturningCase):
    """One server."""


class SwitchedOffTests(ReturningCase):
    """Without recovery."""

    settings = {"recovery": False}  # noqa: RUF012

    async def test_lost(self) -> None:
        """Everybody who comes back begins anew."""
        self.assertEqual(await self.tell("lost"), BEGUN | ANEW | {"then": [4]})
