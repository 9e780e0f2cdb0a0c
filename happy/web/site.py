"""The HTTP server: requests between the connection and the router (http.md 3)."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web.http import Request as PlainRequest
from twisted.web.server import Request, Site

from happy.budget import Budget
from happy.capabilities._declare import MIB
from happy.faults import describe_fault
from happy.web.asked import Parsed
from happy.web.bodies import SPOOL_SIZE, LargeBody, SmallBody
from happy.web.channel import KEEP_ALIVE_SECONDS, HappyChannel
from happy.web.fastrequests import FastChannel
from happy.web.sending import http_now
from happy.wire import answers

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.web.resource import Router, Target
    from happy.wire.answers import Answer
    from happy.wire.heads import Usual

SILENCE_SECONDS: Final = 60.0
MANY_CONNECTIONS: Final = 2**20
BODIES: Final = 512 * MIB
"""Bytes of bodies that may be in the house: being received, or of requests without an answer."""


_BODILESS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Realtime(typing.Protocol):
    """What the site needs of :class:`happy.realtime.endpoint.RealtimeEndpoint`."""

    @property
    def largest_body(self) -> int:
        """The most bytes that one request may carry."""

    @property
    def websockets(self) -> int:
        """How many connections it has taken over."""

    def handles(self, path: bytes) -> bool:
        """Whether a request target is the realtime transport's."""

    def take(self, channel: HappyChannel, usual: Usual) -> bool:
        """Take the connection over if a request of that path is a plain upgrade; if not, nothing is done."""

    def begin(self, request: Request) -> None:
        """The head of a request of that path is there; may answer it at once."""

    def lose(self, request: Request) -> None:
        """The connection of a request broke before its body was complete."""

    def render(self, request: Request) -> None:
        """Answer a request of that path, or take over its connection."""

    def refuse(self, request: Request, status: int) -> None:
        """Answer a request whose body is not read: too large (413), or too much altogether (503)."""


class HappyRequest(Request):
    """A request: admitted by its head, then answered by the router or the realtime endpoint."""

    defaultContentType = None
    channel: HappyChannel
    content: SmallBody | LargeBody | None
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
            realtime.begin(self)
        else:
            self.site.router.work.enter()
            self._counted = True
            self.target = self.site.router.target(method, uri)
            self._unquestioned = min(self.target.limit, MIB)
        if not self.finished:
            self._admit(length or 0)

    def _admit(self, size: int) -> bool:
        """Whether a body of ``size`` bytes is read; if not, the refusal was sent."""
        if size <= self._unquestioned:
            return True
        if self._realtime is not None:
            self._refuse(413, None)
            return False
        refusal = self.site.router.refusal(Parsed(self, self.target), size)
        if refusal is not None:
            self._refuse(refusal.status, refusal)
        return refusal is None

    def _refuse(self, status: int, answer: Answer | None) -> None:
        """Answer before the body is read to its end; the realtime endpoint has answers of its own."""
        self.channel.refuse_rest()
        if self._realtime is not None:
            self._realtime.refuse(self, status)
        else:
            self.site.router.answer(Parsed(self, self.target), answer)

    def gotLength(self, length: int | None) -> None:
        kind = SmallBody if length is not None and length <= SPOOL_SIZE else LargeBody
        self.content = kind(self.channel.site.bodies)

    def handleContentChunk(self, data: bytes) -> None:
        if self.finished:
            return
        self._received += len(data)
        if not self._admit(self._received):
            return
        if self.method in _BODILESS or self.content is None:
            return
        if self.content.hold(len(data)):
            self.content.write(data)
        else:
            self._refuse(503, answers.overloaded().answer(self.target.strips) if self._counted else None)

    def adopt(self, method: bytes, target: Target) -> None:
        """Be a request of HTTP/1.1 that was received otherwise, whose body is not needed any more."""
        self.site = self.channel.site
        self.method, self.uri, self.path, self.clientproto = method, target.uri, target.path, b"HTTP/1.1"
        self.target = target
        self._complete = True

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
                self.site.router.answer(Parsed(self, self.target), refusal.answer())
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
        headers.setRawHeaders(b"date", [http_now()])
        channel = self.channel
        if channel is not None and not self._complete:
            channel.refuse_rest()  # an answer before the body's end is the last one
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
        elif self._realtime is not None:
            self._realtime.lose(self)
        super().connectionLost(reason)
        self._left()

    def _left(self) -> None:
        if self._counted:
            self._counted = False
            self.site.router.work.leave()


class _Refusal(Protocol):
    """A connection that is closed at once: there is no room for it."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class HappySite(Site):
    """Serves ``router``, and ``realtime`` at its own path. Keeps no access log."""

    noisy = False
    draining = False
    _log = Logger()

    def __init__(
        self,
        router: Router,
        realtime: Realtime | None,
        clock: IReactorTime,
        *,
        room: int = MANY_CONNECTIONS,
        refused: Callable[[], None] = lambda: None,
        fast_requests: bool = True,
    ) -> None:
        """At most ``room`` connections are served at a time; ``refused`` is told of every further one.

        ``fast_requests`` lets usual requests bypass the general parser.
        """
        super().__init__(
            router,
            requestFactory=HappyRequest,
            parsePOSTFormSubmission=False,
            timeout=KEEP_ALIVE_SECONDS,
            reactor=clock,
        )
        self.protocol = FastChannel if fast_requests else HappyChannel  # type: ignore[assignment]
        self.router = router
        self.realtime = realtime
        self.bodies = Budget(BODIES)
        self._clock = clock
        self._room = room
        self._silent_until = 0.0
        self._refused = refused
        self._channels: weakref.WeakSet[HappyChannel] = weakref.WeakSet()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._connections >= self._room:
            self._note_refusal()
            return _Refusal()
        channel = super().buildProtocol(addr)
        self._channels.add(channel)
        return channel

    def _note_refusal(self) -> None:
        """Count it, and say so once a minute."""
        self._refused()
        if self._clock.seconds() >= self._silent_until:
            self._silent_until = self._clock.seconds() + SILENCE_SECONDS
            self._log.warn("{room} connections are open, which is all there is room for", room=self._room)

    @property
    def _connections(self) -> int:
        websockets = 0 if self.realtime is None else self.realtime.websockets
        return len(self._channels) + websockets

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
