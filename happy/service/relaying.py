"""Upgrades to WebSocket that reach another worker than their session's: the connection is passed on to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from happy.socketio.upgrade import detach, unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.web.http import Request
    from twisted.web.http_headers import Headers

CLOSING_SECONDS: Final = 10.0
"""Seconds in which the last of what one side said may reach the other."""


class RelayEnd(Protocol):
    """One of two connections: what comes on it goes to the other, no faster than that takes it."""

    transport: Any = None
    other: RelayEnd

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._closing: IDelayedCall | None = None
        self.left: Callable[[], object] = int
        """Called when the connection is gone."""

    def pair(self, other: RelayEnd) -> None:
        """Both are connected."""
        for one, another in ((self, other), (other, self)):
            one.other = another
            one.transport.registerProducer(another.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on, while there is somebody to take it."""
        if self.other.transport is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other goes too."""
        self.transport = None
        self.left()
        if self._closing is not None:
            self._closing.cancel()
        self.other.close()

    def close(self) -> None:
        """End it when what was said is sent, or in a while."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.unregisterProducer()
            transport.loseConnection()
            self._closing = self._clock.callLater(CLOSING_SECONDS, transport.abortConnection)


def relay(request: Request, headers: Headers, sibling: RelayEnd, clock: Any) -> None:
    """Give the connection of an upgrade request, without a body, to the worker that ``sibling`` reaches."""
    channel: Any = request.channel
    client = RelayEnd(clock)
    transport = channel.transport
    place = detach(channel, client)
    if place is not None:
        client.left = place.leave
    client.makeConnection(transport)
    client.pair(sibling)
    sibling.transport.write(_head(request, headers) + unread(channel))
    transport.resumeProducing()
    # Without this cycle, channel and request are freed at once.
    request.channel = None  # type: ignore[assignment]


def _head(request: Request, headers: Headers) -> bytes:
    lines = [b"%s: %s" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
    return b"\r\n".join([b"%s %s HTTP/1.1" % (request.method, request.uri), *lines, b"", b""])
