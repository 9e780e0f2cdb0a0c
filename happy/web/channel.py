"""One HTTP connection: what is read, for how long, and how it ends (http.md 3.6, 3.8).

A client is given a bounded time for the head of a request and for each further part of its body. A request
that is refused before it was read to its end is answered at once; what the client still sends is then
discarded for a moment, since closing a connection with unread data makes the answer vanish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.web.http import HTTPChannel

from happy.wire import answers

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from happy.web.site import HappyRequest, HappySite
    from happy.wire.answers import Fault

BODY_STEP: Final = 64 * 1024
"""Bytes of a body that buy another time-out."""

KEEP_ALIVE_SECONDS: Final = 72
"""How long a connection may be idle."""

LINGER_SECONDS: Final = 5.0
"""How long data is discarded after a last answer."""

_REASONS: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


def closes(connection: bytes) -> bool:
    """Whether a header ``Connection`` with this value ends the connection."""
    return b"close" in [token.strip() for token in connection.lower().split(b",")]


class HappyChannel(HTTPChannel):
    """An HTTP/1.1 connection."""

    site: HappySite
    transport: Any
    requests: list[HappyRequest]
    totalHeadersSize = 16 * 1024
    maxHeaders = totalHeadersSize  # only the size counts

    def __init__(self) -> None:
        super().__init__()
        self._in_head = False
        self._refused = False
        self._body_left_until_reset = BODY_STEP
        self._abort: IDelayedCall | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being received or answered."""
        return not self.requests and not self._in_head

    # What arrives, and until when.

    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        self._take_time(len(data))
        # HTTPChannel would restart the time-out with every byte.
        LineReceiver.dataReceived(self, data)

    def _take_time(self, size: int) -> None:
        """Restart the time-out at the first byte of a head and at every so many bytes of a body."""
        if not self._in_head and not self.requests:
            self._in_head = True
            self.resetTimeout()
        elif self.requests:
            self._body_left_until_reset -= size
            if self._body_left_until_reset <= 0:
                self._body_left_until_reset = BODY_STEP
                self.resetTimeout()

    def lineReceived(self, line: bytes) -> None:
        if not self._refused:
            self._in_head = self._in_head or not self.requests
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._refused:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse(answers.headers_too_large())

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        self._in_head = False
        self._body_left_until_reset = BODY_STEP
        hosts = request.requestHeaders.getRawHeaders(b"host") or ()
        if len(hosts) > 1 or (self._version == b"HTTP/1.1" and not hosts):
            self._last_words(400, b"")
            return
        request.headed(self._command, self._path, self._version, self.length)
        if not self._refused:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if not self._refused:
            super().allContentReceived()

    def checkPersistence(self, request: HappyRequest, version: bytes) -> bool:
        wishes = b",".join(request.requestHeaders.getRawHeaders(b"connection") or ())
        return version == b"HTTP/1.1" and not closes(wishes) and not self.site.draining

    # How it ends.

    def refuse_rest(self) -> None:
        """Read nothing more: the answer that follows is the connection's last."""
        self._refused = True
        self.persistent = False

    def _respondToBadRequestAndDisconnect(self) -> None:
        large = (
            self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders
        )
        self._refuse(answers.headers_too_large() if large else answers.unparsable())

    def _refuse(self, fault: Fault) -> None:
        answer = fault.answer()
        assert isinstance(answer.content, bytes)
        self._last_words(answer.status, answer.content)

    def _last_words(self, status: int, content: bytes) -> None:
        """Answer what is no request that could be routed."""
        if self._refused:
            return
        self.refuse_rest()
        head = [b"HTTP/1.1 %d %s" % (status, _REASONS[status]), b"Connection: close"]
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.forget(self)
        abort, self._abort = self._abort, None
        if abort is not None:
            abort.cancel()
        super().connectionLost(reason)
