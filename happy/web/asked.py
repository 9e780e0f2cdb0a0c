"""What the router needs of a request, whichever way it was parsed."""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from happy.web.sending import header_of, send
from happy.wire.payload import Payload, payload_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request

    from happy.web.resource import Target
    from happy.wire.answers import Answer


class Asked(Protocol):
    """A request whose head is complete, and the way to answer it. Names of headers are in lower case."""

    target: Target

    @property
    def channel(self) -> Any:
        """The connection; None once the client has left."""

    def header(self, name: str) -> str | None:
        """The first value of a header."""

    def last_header(self, name: str) -> str | None:
        """The last value of a header."""

    def secure(self) -> bool:
        """Whether it came through TLS."""

    def peer(self) -> object:
        """The address of the connection's other side."""

    def payload(self) -> Payload:
        """The body; raises :class:`~happy.wire.payload.UnsupportedMedia`."""

    async def send(self, answer: Answer, clock: IReactorTime, *, cors: bool) -> int:
        """Send ``answer``, as fast as the client takes it, unless it has left; returns the status."""

    def release(self) -> None:
        """Forget the body."""


class Parsed:
    """A request that Twisted has parsed."""

    __slots__ = ("_content", "_request", "target")

    def __init__(self, request: Request, target: Target) -> None:
        self._request = request
        self._content = request.content or BytesIO()
        self.target = target

    @property
    def channel(self) -> Any:
        """The connection; None once the client has left."""
        return self._request.channel

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return header_of(self._request, name)

    def last_header(self, name: str) -> str | None:
        """The last value of a header."""
        values = self._request.requestHeaders.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("latin-1") if values else None

    def secure(self) -> bool:
        """Whether it came through TLS."""
        return bool(self._request.isSecure())

    def peer(self) -> object:
        """The address of the connection's other side."""
        address: object = self._request.getClientAddress()
        return address

    def payload(self) -> Payload:
        """The body; raises :class:`~happy.wire.payload.UnsupportedMedia`."""
        length = self._content.seek(0, os.SEEK_END)
        return payload_of(self.target.method, self.header("content-type"), length, self._content)

    def release(self) -> None:
        """Forget the body."""
        self._content.close()

    async def send(self, answer: Answer, clock: IReactorTime, *, cors: bool) -> int:
        """Send ``answer``, as fast as the client takes it, unless it has left; returns the status."""
        return await send(self._request, answer, clock, cors=cors)
