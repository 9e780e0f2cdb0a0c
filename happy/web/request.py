"""A request between its connection and the router: how much of it is read, and who answers (http.md 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.web.server import Request

from happy.api import answers
from happy.api.answers import Answer
from happy.api.declare import MIB
from happy.api.payload import is_json
from happy.base.redaction import describe_fault
from happy.web.addressing import forwarded_for
from happy.web.asked import Parsed
from happy.web.bodies import SPOOL_SIZE, Keep, LargeBody, SmallBody
from happy.web.places import KEEP_ALIVE_SECONDS
from happy.web.routes import local_target
from happy.web.sending import header_of, http_now
from happy.wire.complexity import Meter, TooComplex

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from happy.web.channel import HappyChannel
    from happy.web.routes import Target
    from happy.web.serving import ServingSite, SocketEndpoint
    from happy.web.shares import Share

_METERED: Final = 16 * 1024
"""Bytes of JSON from which on it is measured as it arrives."""

_BODILESS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class HappyRequest(Request):
    """A request: admitted by its head, then answered by the router or the realtime endpoint."""

    defaultContentType = None
    channel: HappyChannel
    content: SmallBody | LargeBody | None
    keep: Keep
    share: Share
    target: Target
    site: ServingSite
    _received = 0
    _unquestioned = MIB
    _counted = False
    _kept = False
    _meter: Meter | None = None
    _realtime: SocketEndpoint | None = None
    _complete = False

    def headed(self, method: bytes, uri: bytes, version: bytes, length: int | None) -> None:
        """The head is complete; ``length`` is None for a chunked body. Answers at once what is refused."""
        self._enter()
        self.method, self.uri, self.clientproto = method, uri, version
        self.path = uri.partition(b"?")[0]
        self.channel.charge(forwarded_for(self))
        self.share = self.channel.share
        realtime = self.site.realtime
        if realtime is not None and realtime.handles(local_target(uri)):
            self._realtime = realtime
            self._unquestioned = realtime.largest_body
            realtime.begin(self)
        else:
            self.target = self.site.router.target(method, uri)
            self._unquestioned = min(self.target.limit, MIB)
            self.keep.begin()
            self.site.router.work.enter()
            self._counted = self._kept = True
        if not self.finished:
            self._admit(length or 0)

    def _enter(self) -> None:
        """Know what outlives the connection."""
        self.site, self.keep, self.share = self.channel.site, self.channel.keep, self.channel.share

    def release(self) -> None:
        """Nothing more is done for the request. May be called again."""
        if self._kept:
            self._kept = False
            self.keep.done()

    def _admit(self, size: int) -> bool:
        """Whether a body of ``size`` bytes is read; if not, the refusal was sent."""
        if size <= self._unquestioned:
            return True
        if self._realtime is not None:
            self._refuse(413, None)
            return False
        sender = self.site.router.admit(Parsed(self, self.target), size)
        if isinstance(sender, Answer):
            self._refuse(sender.status, sender)
            return False
        self._unquestioned = self.target.limit
        body = self.keep if self.content is None else self.content
        if body.charge(f"account:{sender.account}"):
            return True
        self._refuse_for_room()
        return False

    def _refuse(self, status: int, answer: Answer | None) -> None:
        """Answer before the body is read to its end; the realtime endpoint has answers of its own."""
        self.channel.refuse_rest()
        if self._realtime is not None:
            self._realtime.refuse(self, status)
        else:
            self.site.router.answer(Parsed(self, self.target), answer)

    def _refuse_for_room(self) -> None:
        ours = self._realtime is None
        self._refuse(503, answers.overloaded().answer(self.target.strips) if ours else None)

    def gotLength(self, length: int | None) -> None:
        kind = SmallBody if length is not None and length <= SPOOL_SIZE else LargeBody
        self.content = kind(self.keep)
        if self._realtime is None and (length is None or length > _METERED) and self._carries_json():
            self._meter = Meter()

    def _carries_json(self) -> bool:
        return self.method not in _BODILESS and is_json(header_of(self, "content-type"))

    def parseCookies(self) -> None:
        """Nothing reads cookies."""

    def expect(self, size: int) -> None:
        """A chunk says that so many bytes follow: too many are refused before they come."""
        if not self.finished:
            self._admit(self._received + size)

    def handleContentChunk(self, data: bytes) -> None:
        if self.finished:
            return
        self.channel.body_moved(len(data))
        self._received += len(data)
        if not self._admit(self._received) or self.method in _BODILESS:
            return
        if self.content is None or self.content.closed:
            return  # Somebody else needed the room; the answer follows.
        try:
            if self._meter is not None:
                self._meter.feed(data)
            if self.content.hold(len(data)):
                self.content.write(data)
                return
        except TooComplex as reason:
            self._refuse(400, answers.malformed(str(reason)).answer(self.target.strips))
            return
        except OSError as error:
            self.site.note_full_disk(error)
        self._refuse_for_room()

    def lose_body(self) -> None:
        """Forget a body that is being received; :meth:`refuse_lost` follows."""
        if not self._complete and self.content is not None:
            self.content.close()

    def refuse_lost(self) -> bool:
        """Answer a request whose body is forgotten; False for all others."""
        if self._complete or self.finished:
            return False
        self._refuse_for_room()
        return True

    def adopt(self, method: bytes, target: Target) -> None:
        """Be a request of HTTP/1.1 that was received otherwise, whose body is not needed any more."""
        self._enter()
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
            # Whoever calls goes on with other connections, and the client would wait for ever.
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
        else:
            self.release()
            if self._realtime is not None:
                self._realtime.lose(self)
        super().connectionLost(reason)
        self._left()

    def _left(self) -> None:
        if self._counted:
            self._counted = False
            self.site.router.work.leave()
