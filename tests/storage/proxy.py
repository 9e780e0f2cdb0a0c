"""A relay between a client and PostgreSQL that loses a connection at a chosen moment."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

DROPPED = "the request is lost on its way"
LOST = "the answer is lost on its way"
LATE = "the request arrives after the client gave up"
SILENT = "the request is lost, and the connection stays"
MUTE = "the answer is lost, and the connection stays"


class _Client(Protocol):
    """The client's side."""

    server: _Server

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.buffer: list[bytes] = []

    def connectionMade(self) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]
        endpoint = UNIXClientEndpoint(self.relay.reactor, self.relay.target)
        connectProtocol(endpoint, _Server(self)).addCallback(self._ready)

    def _ready(self, server: _Server) -> None:
        self.server = server
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        trouble = self.relay.trouble_for(data)
        if trouble is None:
            self.server.transport.write(data)  # type: ignore[union-attr]
        elif trouble == LOST:
            self.server.losing = True
            self.server.transport.write(data)  # type: ignore[union-attr]
        elif trouble == MUTE:
            self.server.mute = True
            self.server.transport.write(data)  # type: ignore[union-attr]
        elif trouble != SILENT:
            if trouble == LATE:
                self.relay.late.append((self.server, data))
                self.server.losing = True
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if not self.server.losing:
            self.server.transport.loseConnection()  # type: ignore[union-attr]


class _Server(Protocol):
    """PostgreSQL's side. ``losing`` answers go nowhere, and end the connection unless it is ``mute``."""

    losing = False
    mute = False

    def __init__(self, client: _Client) -> None:
        self.client = client
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        if self.mute:
            return
        if self.losing:
            self.client.transport.abortConnection()  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]
        else:
            self.client.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.client.transport.loseConnection()  # type: ignore[union-attr]
        self.gone.callback(None)


class Relay(Factory):
    """Listens on a socket of its own. ``trouble`` happens to the next request that holds ``where``.

    If it ``lasts``, it happens to every request whatever it holds. While the relay is ``closed`` new
    connections are cut at once.
    """

    noisy = False
    lasts = False
    closed = False

    def __init__(self, reactor: Any, target: str) -> None:
        self.reactor = reactor
        self.target = target
        self.trouble: str | None = None
        self.where = b"COMMIT"
        self.late: list[tuple[_Server, bytes]] = []
        self.folder = tempfile.mkdtemp(prefix="happy-relay-")
        self._port = reactor.listenUNIX(f"{self.folder}/.s.PGSQL.5432", self)

    def buildProtocol(self, address: Any) -> Protocol | None:
        return None if self.closed else _Client(self)

    def trouble_for(self, data: bytes) -> str | None:
        """The trouble that this request meets, once."""
        if self.lasts:
            return self.trouble
        if self.trouble is None or self.where not in data:
            return None
        trouble, self.trouble = self.trouble, None
        return trouble

    async def deliver_late(self) -> None:
        """Let late requests arrive, and wait until their connections are gone."""
        for server, data in self.late:
            server.transport.write(data)  # type: ignore[union-attr]
            await server.gone

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        await self._port.stopListening()
        shutil.rmtree(self.folder)
