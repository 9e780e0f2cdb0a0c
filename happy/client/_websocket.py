"""The WebSocket under a socket, on Autobahn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS

from happy.client._engine import Engine, Program

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint

P = TypeVar("P", bound=Program)

_PATH = "/v1/updates/?EIO=4&transport=websocket"
_PORTS = {"http": 80, "https": 443}


class _Connection(WebSocketClientProtocol):
    """Carries packets between the network and an :class:`Engine`."""

    engine: Engine

    def send(self, text: bytes) -> None:
        """Send one packet; nothing, once the connection is closing."""
        # Autobahn raises then, and whoever sends may not have heard of it yet.
        if self.state == self.STATE_OPEN:
            self.sendMessage(text)

    def close(self) -> None:
        """Begin the closing handshake; before the opening one is over, just hang up."""
        if self.state == self.STATE_CONNECTING:
            self.dropConnection()
        else:
            self.sendClose()

    def abort(self) -> None:
        """Cut the connection."""
        self.dropConnection(abort=True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if isBinary:
            self.engine.abort("parse error")
        else:
            self.engine.received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.engine.lost(reason or "transport close")


class _Factory(WebSocketClientFactory):
    """Makes the one connection; all time limits are the caller's."""

    protocol = _Connection

    def __init__(self, url: str, start: Callable[[Engine], Program], clock: IReactorTime) -> None:
        super().__init__(url, useragent=None, reactor=clock)
        self.setProtocolOptions(
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
            tcpNoDelay=True,
            autoFragmentSize=0,
        )
        self.noisy = False
        self._start = start
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        connection = cast("_Connection", super().buildProtocol(addr))
        connection.engine = Engine(connection, self._clock)
        connection.engine.program = self._start(connection.engine)
        return connection


async def connect(
    url: str, start: Callable[[Engine], P], reactor: IReactorTime, endpoint: IStreamClientEndpoint | None
) -> P:
    """Reach the realtime endpoint of the server at ``url`` (http or https).

    :return: the program that ``start`` made for the connection, which may still fail.
    """
    factory = _Factory("ws" + url.removeprefix("http") + _PATH, start, reactor)
    connection = await (endpoint or _endpoint(url, reactor)).connect(factory)
    return cast("P", cast("_Connection", connection).engine.program)


def _endpoint(url: str, reactor: IReactorTime) -> IStreamClientEndpoint:
    parts = urlsplit(url)
    host = parts.hostname or ""
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, host, parts.port or _PORTS[parts.scheme])
    return wrapClientTLS(optionsForClientTLS(host), endpoint) if parts.scheme == "https" else endpoint
