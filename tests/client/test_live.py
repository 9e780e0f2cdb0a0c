"""The client on a real network: other ways to a server, and servers that go away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.web.client import ResponseNeverReceived

from happy.client import AccountKeys, Disconnected, RemoteServer, sign_in
from happy.settings.config import Config
from tests.live.case import LiveCase


class LiveTests(LiveCase):
    """Against a whole server, which also listens on a unix socket."""

    def config(self) -> Config:
        config = super().config()
        self.path = str(config.data_dir / "socket")
        return replace(config, listen=(*config.listen, f"unix:{self.path}"))

    async def test_unix_socket(self) -> None:
        """Requests and sockets reach a server over an endpoint, whatever its address is called."""
        from twisted.internet import reactor

        endpoint: Any = UNIXClientEndpoint(reactor, self.path)
        phone = await sign_in(self.remote_at("http://happy.test", endpoint), AccountKeys.generate())
        socket = await self.connect(phone)
        session = await phone.create_session("tag", {})
        assert (await socket.next_update("new-session"))["body"]["id"] == session.id

    def remote_at(self, url: str, endpoint: Any) -> RemoteServer:
        """A client of its own for another way to the server."""
        server = self.remote(endpoint=endpoint)
        server.url = url
        return server

    async def test_server_goes_away(self) -> None:
        """A server that stops ends its sockets, and is then reported as unreachable."""
        phone = await self.new_phone()
        socket = await self.connect(phone)
        await self.running.stop()
        await socket.closed()
        with self.assertRaises(Disconnected):
            await socket.call("ping")
        with self.assertRaises((ConnectError, ResponseNeverReceived)):
            await phone.sessions()
        with self.assertRaises(ConnectError):
            await phone.open_socket()

    async def test_lost_connection(self) -> None:
        """After a cut connection, a new socket hears what comes from then on."""
        phone = await self.new_phone()
        lost = await self.connect(phone)
        lost.abort()
        await lost.closed()
        socket = await self.connect(phone, after=lost)
        assert socket.id != lost.id or socket.recovered
        session = await phone.create_session("tag", {})
        assert (await socket.next_update("new-session"))["body"]["id"] == session.id
