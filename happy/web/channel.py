"""One HTTP connection: what is read, for how long, and how it ends (http.md 3.6, 3.8).

Heads are read by :mod:`happy.wire.heads`, chunks by :mod:`happy.wire.chunks`, other bodies by Twisted. What
arrives is worked on in pieces, a request or a part of a body each, as long as its owner has time
(:mod:`happy.web.shares`).

A client is given a bounded time for the head of a request, and for each further part of its body. A request
that is refused before it was read to its end is answered at once; what the client still sends is then
discarded for a moment, since closing a connection with unread data makes the answer vanish.

Of what ``HTTPChannel`` keeps for itself, ``_command``, ``_path``, ``_version``, ``_transferDecoder``,
``_handlingRequest``, ``_savedTimeOut``, ``_networkProducer``, ``_waitingForTransport`` and
``_finishRequestBody`` are used here, with the decoder of bodies of known length.
"""

from __future__ import annotations

from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel, _IdentityTransferDecoder

from happy.api import answers
from happy.web.places import KEEP_ALIVE_SECONDS
from happy.wire.chunks import BadChunk, Chunks
from happy.wire.heads import BadHead, Beginning, Head, HeadTooLarge, closes

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure
    from twisted.web.http import Request

    from happy.api.answers import Fault
    from happy.web.bodies import Keep
    from happy.web.places import Place
    from happy.web.serving import ServingSite
    from happy.web.shares import Share

BODY_RATE: Final = 4
"""Bytes of a body that must come in a second, over any :data:`KEEP_ALIVE_SECONDS`: bad lines are slow."""

LINGER_SECONDS: Final = 5.0
"""How long data is discarded after a last answer."""

_BODY_STEP: Final = BODY_RATE * KEEP_ALIVE_SECONDS
_CHUNKED_STEP: Final = 4096
"""Bytes of a chunked body in a piece, unless one chunk has more: hundreds of chunks, if they are small."""

_MOST_AHEAD: Final = 16 * 1024
"""Bytes that are read while earlier ones are worked on."""


class HappyChannel(HTTPChannel):
    """An HTTP/1.1 connection."""

    site: ServingSite
    transport: Any
    requests: list[Any]
    keep: Keep
    place: Place
    share: Share
    proxied = False

    def __init__(self) -> None:
        super().__init__()
        self._head: Beginning | None = None
        self._refused = self._gone = self._busy = False
        self._ahead = self._surplus = b""
        self._body_left_until_reset = _BODY_STEP
        self._abort: IDelayedCall | None = None

    @property
    def name(self) -> str:
        """Who pays for it."""
        return self.share.owner

    def admit(self, place: Place, share: Share, keep: Keep, built: float, *, proxied: bool) -> None:
        """Be counted, once, before anything else; since ``built`` it is worked for. A trusted proxy's is
        ``proxied``."""
        self._built = built
        self.place, self.share, self.keep, self.proxied = place, share, keep, proxied
        self._owner = keep.owner

    def charge(self, forwarded: str | None) -> None:
        """Find out who pays for the request that begins; ``forwarded`` is its ``X-Forwarded-For``."""
        if self.proxied:
            self.keep.charge(self.site.origins.owner(self.transport.getPeer(), forwarded))
            if self.share.owner != self.keep.owner and not self._ahead:
                former, self.share = self.share, self.site.processor.open(self.keep.owner)
                former.close()
        elif self.keep.owner is not self._owner:
            self.keep.charge(self._owner)

    @property
    def refused(self) -> bool:
        """Whether nothing more is read."""
        return self._refused

    def connectionMade(self) -> None:
        super().connectionMade()
        self.place.transport = self.transport
        if not self.share.welcome():
            # Whoever opens connections faster than they can be served waits, and not others.
            self._networkProducer.pauseProducing()
            self.share.later(self._read_on)
        # Accepting it, and hearing of its end, take as long again.
        self.share.charge(2 * self._built - self.share.now())

    @property
    def idle(self) -> bool:
        """Whether no request is being received or answered."""
        return not (self.requests or self._ahead) and self._head is None

    # What arrives, and when it is worked on.

    def dataReceived(self, data: bytes) -> None:
        if self._ahead:
            self._wait_with(data)
        elif not self._refused:
            self._work_on(data)

    def _work_on(self, data: bytes, until: float = inf, *, turn: bool = False) -> None:
        """Take ``data`` piece by piece; what is left at ``until`` waits. A ``turn`` is one piece at least."""
        self._busy = True
        try:
            while data and not self._ends():
                if self._handlingRequest:
                    return self._wait_with(data)
                began = self.share.now() if turn else self.share.begin()
                if began is None or (began >= until and not turn):
                    self.share.later(self._go_on)
                    return self._wait_with(data)
                turn = False
                data = self._take(data)
                self.share.charge(began)
        finally:
            self._busy = False
        taker = vars(self).get("dataReceived")
        if data and taker is not None:
            taker(data)  # a WebSocket has taken over
        return None

    def _ends(self) -> bool:
        return self._refused or "dataReceived" in vars(self) or not (self.persistent or self.requests)

    def _wait_with(self, data: bytes) -> None:
        """Keep what cannot be worked on now; whoever lets too much wait is cut off."""
        if not self.keep.take(len(data)):
            self._cut()
            return
        self._ahead += data
        if not self.share.hold(len(data)):
            self._cut()
        elif len(self._ahead) > _MOST_AHEAD:
            self._networkProducer.pauseProducing()

    def _take_ahead(self) -> bytes:
        ahead, self._ahead = self._ahead, b""
        self.share.hold(-len(ahead))
        self.keep.give_back(len(ahead))
        return ahead

    def _go_on(self) -> None:
        """It is this connection's turn."""
        ahead = self._take_ahead()
        if self._refused:
            return
        # Reading on for a moment, in the middle of a body, would cost more than the piece that is worked on.
        much = len(ahead) > _MOST_AHEAD and self._transferDecoder is not None
        if not much:
            self._read_on()
        self._work_on(ahead, self.share.until, turn=True)
        if much and not self._ahead and "dataReceived" not in vars(self):
            self._read_on()

    def _read_on(self) -> None:
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def requestDone(self, request: Any) -> None:
        """Go on with what came while the request was answered."""
        if not self.persistent:
            super().requestDone(request)
            return
        # Not by way of the base, which reads on at once: between two of many that costs as much as a request.
        del self.requests[0]
        self._handlingRequest = False
        self.setTimeout(self._savedTimeOut)
        if self._busy:
            return
        if self._ahead and not self._ends():
            # Not now: whoever answered it may be telling others something that comes before the next one.
            self.share.later(self._go_on)
        elif not self._ends():
            self._read_on()

    # Pieces.

    def _take(self, data: bytes) -> bytes:
        """Work on a piece of ``data``; what is left of it."""
        return self._take_head(data) if self._transferDecoder is None else self._take_body(data)

    def _take_head(self, data: bytes) -> bytes:
        if self._head is None:
            self._head = Beginning()
            self.resetTimeout()
        try:
            found = self._head.feed(data)
            if found is not None:
                self._head = None
                head, data = found
                self._begin_request(head)
                return data
        except BadHead:
            self._refuse(answers.unparsable())
        except HeadTooLarge:
            self._refuse(answers.headers_too_large())
        return b""

    def _begin_request(self, head: Head) -> None:
        request = self.requestFactory(self, False)
        self.requests.append(request)
        for name, value in head.fields:
            request.requestHeaders.addRawHeader(name, value)
        self._command, self._path, self._version = head.method, head.target, head.version
        self.length = head.length
        self.allHeadersReceived()
        if self._refused:
            return
        if head.length is None:
            self._transferDecoder = Chunks()
        elif head.length:
            self._transferDecoder = _IdentityTransferDecoder(
                head.length, request.handleContentChunk, self._finishRequestBody
            )
        else:
            self.allContentReceived()

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        self._body_left_until_reset = _BODY_STEP
        hosts = request.requestHeaders.getRawHeaders(b"host") or ()
        if len(hosts) > 1 or (self._version == b"HTTP/1.1" and not hosts):
            self._last_words(400, b"")
            return
        if self.site.places.crowded:
            self.place.use()
        request.headed(self._command, self._path, self._version, self.length)
        if not self._refused:
            super().allHeadersReceived()

    def _take_body(self, data: bytes) -> bytes:
        decoder: Any = self._transferDecoder
        chunked = isinstance(decoder, Chunks)
        size = max(_CHUNKED_STEP, decoder.owed) if chunked else decoder.contentLength
        take = self._take_chunks if chunked else decoder.dataReceived
        take(data[:size])
        surplus, self._surplus = self._surplus, b""
        return surplus + data[size:]

    def _take_chunks(self, piece: bytes) -> None:
        chunks: Any = self._transferDecoder
        request = self.requests[-1]
        try:
            content, surplus = chunks.feed(piece)
        except BadChunk:
            return self._refuse(answers.unparsable())
        if content:
            request.handleContentChunk(content)
        if chunks.owed and not self._refused:
            request.expect(chunks.owed)
        if surplus is not None:
            self._finishRequestBody(surplus)
        return None

    def _finishRequestBody(self, data: bytes) -> None:
        """The body is complete; ``data`` is what follows it in the same piece."""
        self._surplus = data
        self.allContentReceived()

    def body_moved(self, size: int) -> None:
        """So many bytes of a body came; a good part of it buys another time-out."""
        self._body_left_until_reset -= size
        if self._body_left_until_reset <= 0:
            self._body_left_until_reset = _BODY_STEP
            self.resetTimeout()

    def allContentReceived(self) -> None:
        if not self._refused:
            super().allContentReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        wishes = b",".join(request.requestHeaders.getRawHeaders(b"connection") or ())
        return version == b"HTTP/1.1" and not closes(wishes) and not self.site.draining

    # How it ends.

    def refuse_rest(self) -> None:
        """Read nothing more: the answer that follows is the connection's last."""
        self._refused = True
        self.persistent = False
        self._take_ahead()
        self._head = None

    def _cut(self) -> None:
        """End without a word."""
        self.refuse_rest()
        self.transport.abortConnection()

    def _refuse(self, fault: Fault) -> None:
        answer = fault.answer()
        assert isinstance(answer.content, bytes)
        self._last_words(answer.status, answer.content)

    def _last_words(self, status: int, content: bytes) -> None:
        """Answer what is no request that could be routed."""
        if self._refused:
            return
        self.refuse_rest()
        head = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), b"Connection: close"]
        if content:
            head.append(b"Content-Type: application/json")
        head.append(b"Content-Length: %d" % len(content))
        self.transport.write(b"\r\n".join([*head, b"", content]))
        self.loseConnection()

    def loseConnection(self) -> None:
        if self._refused:
            self._linger()
        else:
            super().loseConnection()

    def _linger(self) -> None:
        """Close our side, and the other one when the client has done so or after a moment."""
        self._abort_later(LINGER_SECONDS)
        if ITCPTransport.providedBy(self.transport) and not self.isSecure():
            self.transport.loseWriteConnection()

    def _abort_later(self, seconds: float) -> None:
        self.setTimeout(None)
        if self._abort is None:
            self._abort = self.callLater(seconds, self._abort_now)

    def _abort_now(self) -> None:
        self._abort = None
        self.transport.abortConnection()

    def timeoutConnection(self) -> None:
        """A client kept silent for too long: in the middle of a request, or between two."""
        if self.idle:
            self._abort_later(self.abortTimeout)
            self.loseConnection()
        else:
            self.transport.abortConnection()

    def close_idle(self) -> None:
        """Close the connection unless a request is under way; its answer will close it then."""
        if self.idle:
            self.timeoutConnection()

    def give_up(self) -> None:
        """Let go of the body that is being received, and end: somebody else needs the room."""
        for request in self.requests:
            request.lose_body()
        self.callLater(0, self._give_way)

    def _give_way(self) -> None:
        for request in self.requests:
            if request.refuse_lost():
                return
        if not self._gone:
            self.transport.abortConnection()

    def hand_over(self) -> Place:
        """Let another protocol have the connection; the place is to be left when that is gone."""
        if self.proxied:
            self.place.charge(self.keep.owner)
        self._end()
        return self.place

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._end()
        self.place.leave()

    def _end(self) -> None:
        """Leave nothing behind, and nothing that holds each other."""
        self._gone = True
        self.refuse_rest()
        self.site.forget(self)
        abort, self._abort = self._abort, None
        if abort is not None:
            abort.cancel()
        self._transferDecoder = None
        self.requests = []
        self.share.close()
        self.keep.end()
