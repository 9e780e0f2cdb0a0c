"""What the router needs of a request, whichever way it was parsed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from happy.api.payload import Payload, payload_of
from happy.web.addressing import UNKNOWN, forwarded_for
from happy.web.sending import header_of

if TYPE_CHECKING:
    from twisted.web.http import Request

    from happy.api.answers import Answer
    from happy.web.bodies import DecodingRoom
    from happy.web.routes import Target
    from happy.web.sending import Sender
    from happy.web.shares import Share

T = TypeVar("T")


class Asked(Protocol):
    """A request whose head is complete, and the way to answer it. Names of headers are in lower case."""

    target: Target
    large: DecodingRoom | None
    """What it has of :class:`~happy.web.bodies.LargeWork`."""

    @property
    def channel(self) -> Any:
        """The connection; None once the client has left."""

    @property
    def owner(self) -> str:
        """Who pays for what it takes, as far as that is known."""

    def header(self, name: str) -> str | None:
        """The first value of a header."""

    def forwarded_for(self) -> str | None:
        """What all headers ``X-Forwarded-For`` say, joined by commas."""

    def secure(self) -> bool:
        """Whether it came through TLS."""

    def peer(self) -> object:
        """The address of the connection's other side."""

    def payload(self) -> Payload:
        """The body; raises :class:`~happy.api.payload.UnsupportedMedia`."""

    def size(self) -> int:
        """The bytes of the body."""

    def in_turns(self, steps: Generator[None, None, T]) -> Awaitable[T]:
        """Go through steps of some milliseconds, between others' work; answers and raises what they do."""

    async def send(self, answer: Answer, sender: Sender, payer: Callable[[], str], *, cors: bool) -> int:
        """Send ``answer``, as fast as the client takes it, unless it has left; returns the status.

        ``payer`` tells who pays for what is kept until it is sent.
        """

    def release(self) -> None:
        """Forget the body."""


class Parsed:
    """A request that Twisted has parsed."""

    __slots__ = ("_content", "_request", "large", "target")

    def __init__(self, request: Request, target: Target) -> None:
        self._request = request
        self._content = request.content or BytesIO()
        self.target = target
        self.large: DecodingRoom | None = None

    @property
    def channel(self) -> Any:
        """The connection; None once the client has left."""
        return self._request.channel

    @property
    def owner(self) -> str:
        """Who pays for what it takes, as far as that is known."""
        keep = getattr(self._request, "keep", None)
        return UNKNOWN if keep is None else str(keep.owner)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return header_of(self._request, name)

    def forwarded_for(self) -> str | None:
        """What all headers ``X-Forwarded-For`` say, joined by commas."""
        return forwarded_for(self._request)

    def secure(self) -> bool:
        """Whether it came through TLS."""
        return bool(self._request.isSecure())

    def peer(self) -> object:
        """The address of the connection's other side."""
        address: object = self._request.getClientAddress()
        return address

    def payload(self) -> Payload:
        """The body; raises :class:`~happy.api.payload.UnsupportedMedia`."""
        return payload_of(self.target.method, self.header("content-type"), self.size(), self._content)

    def size(self) -> int:
        """The bytes of the body."""
        return self._content.seek(0, os.SEEK_END)

    async def in_turns(self, steps: Generator[None, None, T]) -> T:
        """Go through steps of some milliseconds, between others' work; answers and raises what they do."""
        share: Share = self._request.share  # type: ignore[attr-defined]
        return await share.in_turns(steps)

    def release(self) -> None:
        """Forget the body."""
        self._content.close()
        release = getattr(self._request, "release", None)
        if release is not None:
            release()

    async def send(self, answer: Answer, sender: Sender, payer: Callable[[], str], *, cors: bool) -> int:
        """Send ``answer``, as fast as the client takes it, unless it has left; returns the status."""
        return await sender.send(self._request, answer, payer(), cors=cors)
