"""Talking HTTP to a site in memory: real channels, requests and resources on a fake transport and clock."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.api.declare import Capability
from happy.capabilities.server import Server
from happy.web.resource import Router
from happy.web.serving import SocketEndpoint
from happy.web.site import HappySite


@implementer(ITCPTransport)
class Wire(StringTransport):
    """A TCP connection as the server sees it; ``half_closed`` when the server will write no more.

    With ``room`` set, a write beyond that many unread bytes pauses the producer, as a full socket does.
    """

    room: int | None = None
    half_closed = False
    aborted = False

    @property
    def dataBuffer(self) -> bytes:
        """What the client has not read yet."""
        return self.value()

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.room is not None and len(self.value()) > self.room and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def resumeProducing(self) -> None:
        if not self.disconnecting:
            super().resumeProducing()

    def pauseProducing(self) -> None:
        if not self.disconnecting:
            super().pauseProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def take(self) -> bytes:
        """What the client reads; the producer may go on then."""
        data = self.value()
        self.clear()
        if self.room is not None and self.producer is not None:
            self.producer.resumeProducing()
        return data


@dataclass
class Reply:
    """A parsed response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Bytes:
    """A socket that only http.client reads from."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def makefile(self, mode: str) -> io.BytesIO:
        return self._stream


def parse(data: bytes, methods: Iterable[str] = ("GET",)) -> list[Reply]:
    """The responses in ``data``, read by the standard library's client; one for each of ``methods``."""
    stream = io.BytesIO(data)
    stream.close = lambda: None  # type: ignore[method-assign]
    replies = []
    for method in methods:
        response = http.client.HTTPResponse(cast(Any, _Bytes(stream)), method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        replies.append(Reply(response.status, headers, response.read()))
    assert not stream.read(), "more than was asked for"
    return replies


class Connection:
    """A client's connection to a site."""

    def __init__(self, site: HappySite, peer: str = "203.0.113.7") -> None:
        self.wire = Wire(peerAddress=IPv4Address("TCP", peer, 40_000))
        self.channel = site.buildProtocol(self.wire.getPeer())
        self.channel.makeConnection(self.wire)

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def lose(self) -> None:
        """The client goes away."""
        self.wire.disconnected = True
        self.channel.connectionLost(Failure(ConnectionLost()))
        self.wire.producer = None

    @property
    def closing(self) -> bool:
        return self.wire.disconnecting or self.wire.half_closed or self.wire.aborted

    def read(self, *methods: str) -> list[Reply]:
        """The responses so far, to requests with these methods."""
        return parse(self.wire.take(), methods or ("GET",))


def message(
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    version: str = "1.1",
) -> bytes:
    """A request as it is sent; a body has a length and, unless ``headers`` say otherwise, is JSON."""
    lines = {"host": "happy.test"}
    if body is not None:
        lines |= {"content-type": "application/json", "content-length": str(len(body))}
    lines |= {name.lower(): value for name, value in (headers or {}).items()}
    head = [
        f"{method} {target} HTTP/{version}",
        *(f"{name}: {value}" for name, value in lines.items() if value),
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")


class Served:
    """A site that serves ``capabilities`` on a toy server."""

    def __init__(
        self,
        server: Server,
        capabilities: Iterable[Capability],
        realtime: SocketEndpoint | None = None,
        *,
        fast: bool = True,
    ) -> None:
        self.server = server
        self.clock = cast(Clock, server.clock)
        self.router = Router(capabilities, server)
        self.site = HappySite(self.router, realtime, self.clock, fast_requests=fast)

    def connect(self, **options: Any) -> Connection:
        """A connection, and the turn of the reactor that it was accepted in is over."""
        connection = Connection(self.site, **options)
        self.clock.advance(0)
        return connection

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request on a connection of its own; ``content_type`` is the header of that name."""
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.send(message(method, target, body, named))
        return connection.read(method)[0]
