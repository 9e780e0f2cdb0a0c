"""A web server with nothing but an endpoint, for programs that need no other (realtime.md A.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.socketio.endpoint import EngineEndpoint

__all__ = ("EndpointRequest", "EndpointSite")


_TOO_LARGE: Final = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n"


class EndpointRequest(Request):
    """A request whose body is refused as soon as it is known to be too large: none of it is kept."""

    _room = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """The head is there; ``length`` is what the body is announced with."""
        super().gotLength(length)
        self._room = self._endpoint.largest_body
        if length is not None:
            self._expect(length)

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body."""
        self._expect(len(data))
        if not self._refused:
            self._room -= len(data)
            super().handleContentChunk(data)

    def process(self) -> None:
        """The whole request is there."""
        if self._refused:
            return
        if self._endpoint.handles(self.uri):
            self._endpoint.render(self)
        else:
            self.setResponseCode(404)
            self.finish()

    @property
    def _endpoint(self) -> EngineEndpoint:
        channel: Any = self.channel
        endpoint: EngineEndpoint = channel.site.endpoint
        return endpoint

    def _expect(self, size: int) -> None:
        if size > self._room and not self._refused:
            self._refused = True
            headers = self._endpoint.settings.headers(self.getHeader(b"Origin") or b"")
            own = b"".join([b"%s: %s\r\n" % header for header in headers])
            # Not by way of the request, which the channel still needs for the rest of the body.
            channel: Any = self.channel
            channel.transport.write(_TOO_LARGE + own + b"\r\n")
            channel.loseConnection()


class EndpointSite(Site):
    """Serves ``endpoint``, and 404 elsewhere. Keeps no access log."""

    def __init__(self, endpoint: EngineEndpoint, clock: IReactorTime) -> None:
        super().__init__(Resource(), requestFactory=EndpointRequest, reactor=clock)
        self.endpoint = endpoint

    def log(self, request: Any) -> None:
        """Log nothing."""
