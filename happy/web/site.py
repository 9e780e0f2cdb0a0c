"""The HTTP server: requests between the connection and the router (http.md 3)."""

from __future__ import annotations

import weakref
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.interfaces import IAddress
from twisted.web.http import Request as PlainRequest
from twisted.web.http import datetimeToString
from twisted.web.server import Request, Site

from happy.capabilities._declare import MIB
from happy.faults import describe_fault
from happy.web.channel import HappyChannel
from happy.wire import answers

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.web.resource import Router, Target

KEEP_ALIVE_SECONDS: Final = 72
SPOOL_SIZE: Final = 100 * 1024
"""Bodies above it wait in a temporary file."""

_BODILESS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Realtime(Protocol):
    """What the site needs of :class:`happy.realtime.endpoint.RealtimeEndpoint`."""

    @property
    def largest_body(self) -> int:
        """The most bytes that one request may carry."""

    def handles(self, path: bytes) -> bool:
        """Whether a request target is the realtime transport's."""

    def render(self, request: Request) -> None:
        """Answer a request of that path, or take over its connection."""

    def refuse(self, request: Request) -> None:
        """Answer a request whose body is too large."""


class HappyRequest(Request):
    """A request: admitted by its head, then answered by the router or the realtime endpoint."""

    defaultContentType = None
    channel: HappyChannel
    target: Target
    site: HappySite
    _received = 0
    _unquestioned = MIB
    _counted = False
    _realtime: Realtime | None = None
    _complete = False

    def headed(self, method: bytes, uri: bytes, version: bytes, length: int | None) -> None:
        """The head is complete; ``length`` is None for a chunked body. Answers at once what is refused."""
        self.site = self.channel.site
        self.method, self.uri, self.clientproto = method, uri, version
        self.path = uri.partition(b"?")[0]
        realtime = self.site.realtime
        if realtime is not None and realtime.handles(uri):
            self._realtime = realtime
            self._unquestioned = realtime.largest_body
        else:
            self.site.router.work.enter()
            self._counted = True
            self.target = self.site.router.target(method, uri)
            self._unquestioned = min(self.target.limit, MIB)
        self._admit(length or 0)

    def _admit(self, size: int) -> bool:
        """Whether a body of ``size`` bytes is read; if not, the refusal was sent."""
        if size <= self._unquestioned:
            return True
        if self._realtime is not None:
            self.channel.refuse_rest()
            self._realtime.refuse(self)
            return False
        refusal = self.site.router.refusal(self.target, self, size)
        if refusal is not None:
            self.channel.refuse_rest()
            self.site.router.answer(self, self.target, refusal)
        return refusal is None

    def gotLength(self, length: int | None) -> None:
        small = length is not None and length <= SPOOL_SIZE
        self.content = BytesIO() if small else SpooledTemporaryFile(SPOOL_SIZE)  # noqa: SIM115

    def handleContentChunk(self, data: bytes) -> None:
        if self.finished:
            return
        self._received += len(data)
        if not self._admit(self._received):
            return
        if self.method not in _BODILESS and self.content is not None:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self._complete = True
        if self.content is not None:
            self.content.seek(0)
        self.process()

    def process(self) -> None:
        try:
            if self._realtime is not None:
                self._realtime.render(self)
            elif self._upgrades():
                refusal = answers.not_found(self.uri.decode("latin-1"), self.method.decode("latin-1"))
                self.channel.persistent = False
                self.site.router.answer(self, self.target, refusal.answer())
            else:
                self.site.router.render(self)
        except Exception as error:
            self._log.error("A request failed: {fault}", fault=describe_fault(error))
            self.loseConnection()

    def _upgrades(self) -> bool:
        """Whether the client wants a WebSocket, which only the realtime path has."""
        wanted = self.requestHeaders.getRawHeaders(b"upgrade") or ()
        return any(b"websocket" in value.lower() for value in wanted)

    def write(self, data: bytes) -> None:
        if not self.startedWriting:
            self._add_connection_headers()
        super().write(data)

    def _add_connection_headers(self) -> None:
        headers = self.responseHeaders
        headers.setRawHeaders(b"date", [datetimeToString()])
        channel = self.channel
        if channel is None or not channel.persistent or self.site.draining:
            if channel is not None:
                channel.persistent = False
            headers.setRawHeaders(b"connection", [b"close"])
        else:
            headers.setRawHeaders(b"connection", [b"keep-alive"])
            headers.setRawHeaders(b"keep-alive", [b"timeout=%d" % KEEP_ALIVE_SECONDS])

    def finish(self) -> None:
        super().finish()
        self._left()

    def connectionLost(self, reason: Failure) -> None:
        if self._complete:
            self.content = None  # the work goes on, and closes it at its end
        super().connectionLost(reason)
        self._left()

    def _left(self) -> None:
        if self._counted:
            self._counted = False
            self.site.router.work.leave()


class HappySite(Site):
    """Serves ``router``, and ``realtime`` at its own path. Keeps no access log."""

    protocol = HappyChannel  # type: ignore[assignment]
    noisy = False
    draining = False

    def __init__(self, router: Router, realtime: Realtime | None, clock: IReactorTime) -> None:
        super().__init__(
            router,
            requestFactory=HappyRequest,
            parsePOSTFormSubmission=False,
            timeout=KEEP_ALIVE_SECONDS,
            reactor=clock,
        )
        self.router = router
        self.realtime = realtime
        self._channels: weakref.WeakSet[HappyChannel] = weakref.WeakSet()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = super().buildProtocol(addr)
        self._channels.add(channel)
        return channel

    def forget(self, channel: HappyChannel) -> None:
        """A connection is gone. One that became a WebSocket is not reported, and forgotten by itself."""
        self._channels.discard(channel)

    def drain(self) -> Deferred[None]:
        """Answer what is under way, closing every connection after it; fires when nothing is left."""
        self.draining = True
        for channel in list(self._channels):
            channel.close_idle()
        return self.router.work.when_idle()

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only, whatever a TLS client offers."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Without the clock of an access log."""

    def stopFactory(self) -> None:
        """Without the clock of an access log."""

    def log(self, request: PlainRequest) -> None:
        """Requests are counted, not logged."""
