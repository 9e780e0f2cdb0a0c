"""WebSocket connections of Engine.IO clients, on Autobahn.

Autobahn does the framing and the closing handshake; what is written goes past its message layer, because
packets come framed. What a client sends is taken in by :mod:`happy.socketio.reading`; what it does not take
waits in a :mod:`happy.socketio.backlog`.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from autobahn.twisted import websocket as twisted_protocol
from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket import protocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from happy.socketio.backlog import PORTION, Backlog
from happy.socketio.opening import learn, opening
from happy.socketio.reading import ReadingWebSocket
from happy.socketio.shared import Shared

if TYPE_CHECKING:
    from autobahn.websocket.types import ConnectionRequest
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from happy.base.bounds import Holding
    from happy.socketio.shared import EndpointSettings, Headers

_HANDSHAKE_ONLY: Final = frozenset(
    {
        "_results",
        "_transport_details",
        "_valid_events",
        "_wskey",
        "answer_headers",
        "http_headers",
        "http_request_data",
        "http_request_host",
        "http_request_params",
        "http_request_path",
        "http_request_uri",
        "http_response_data",
        "http_status_line",
        "is_closed",
        "is_open",
        "peer",
        "send_queue",
        "trafficStats",
        "utf8validator",
        "websocket_extensions",
        "websocket_extensions_in_use",
        "websocket_origin",
        "websocket_protocol_in_use",
        "websocket_protocols",
    }
)
"""Attributes of Autobahn's that nothing reads once a connection is open, of which one will do for all, or
that are made when they are needed."""

_NOTHING_QUEUED: Final = deque[Any]()
_STATISTICS: Final = TrafficStats()
"""One of each for all connections: nothing is ever queued there, and nobody reads the statistics."""


def _unrendered(*_values: Any, **_style: Any) -> str:
    """Stands in for what renders the arguments of log messages."""
    return ""


# Autobahn renders what it might log, in colour, for every connection and chunk of data, at any log level:
# over a third of the cost of connecting. Our protocols log none of it.
for _module in (protocol, twisted_protocol):
    for _name in {"hlid", "hltype", "hlval", "pformat"} & vars(_module).keys():
        vars(_module)[_name] = _unrendered


class Place(Protocol):
    """What counts a connection among all those of the web server."""

    def leave(self) -> None:
        """The connection is gone."""


class Owner(Protocol):
    """What a WebSocket is of: hears its messages and its end, and pays for what it keeps."""

    @property
    def holding(self) -> Holding:
        """What is counted as kept for it."""

    @property
    def name(self) -> str:
        """Who pays."""

    def websocket_message(self, websocket: EngineWebSocket, data: bytes, binary: bool) -> None:
        """A whole message; ``data`` is UTF-8 unless ``binary``."""

    def websocket_lost(self, websocket: EngineWebSocket, *, clean: bool) -> None:
        """It is gone; ``clean`` if its client closed it in due form."""


class _Silent:
    """Stands in for Autobahn's logger, which would log addresses and handshake keys."""

    def debug(self, *_arguments: Any, **_fields: Any) -> None:
        """Log nothing."""

    info = warn = error = debug


class _Unheeded:
    """Stands in for the Deferred that Autobahn fires at the end, with the protocol itself: a cycle."""

    def callback(self, result: Any) -> None:
        """Nobody waits for it."""


@implementer(IPushProducer)
class EngineWebSocket(ReadingWebSocket):
    """One WebSocket. ``owner`` hears its messages and its end."""

    log = _Silent()
    owner: Owner | None = None
    place: Place | None = None
    factory: EngineWebSocketFactory
    transport: Any

    send_queue = _NOTHING_QUEUED
    trafficStats = _STATISTICS
    is_closed = _Unheeded()
    utf8validator = cached_property(lambda self: Utf8Validator())

    _closing = False
    _backlog: Backlog | None = None
    _abortion: IDelayedCall | None = None

    answer_headers: Headers = ()

    def begin(self, transport: Any, key: bytes, subprotocol: bytes, headers: Headers) -> None:
        """Be the WebSocket of a connection whose opening handshake is in order, and answer that."""
        self.answer_headers = headers
        self.makeConnection(transport)
        self.dataReceived(opening(key, subprotocol))
        self.slim()

    def attach(self, owner: Owner) -> None:
        """Let a connection hear of this WebSocket, and pay for what it keeps."""
        self.owner = owner
        self.holding = owner.holding

    @property
    def name(self) -> str:
        """Who pays for it."""
        return "" if self.owner is None else self.owner.name

    # Outgoing

    @property
    def queued_bytes(self) -> int:
        """What waits here, and what the full transport has."""
        return 0 if self._backlog is None else self._backlog.size

    def send_frames(self, frames: bytes) -> None:
        """Write whole frames, or keep them until the transport has room."""
        if self._closing or self.state != self.STATE_OPEN:
            return
        backlog = self._backlog
        if backlog is None and (len(frames) <= PORTION or self.holding is None):
            self.transport.write(frames)
        elif not (backlog or self._begin_backlog()).put(frames):
            self._drop("crowd")
        elif backlog is None:
            self.resumeProducing()
        elif backlog.size > self.factory.settings.max_queued_bytes:
            self._drop("size")

    def close(self) -> None:
        """Send what waits, then a close frame without status code; cut the connection if that takes long."""
        if self._closing:
            return
        self._closing = True
        self._abort_later()
        if self._backlog is None:
            self.sendClose()

    def slim(self) -> None:
        """Forget what only the opening handshake needed."""
        kind = type(self)
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _HANDSHAKE_ONLY and getattr(kind, name, kind) is not value
        }

    def abort(self) -> None:
        """Cut the connection now, and keep nothing."""
        self._closing = True
        self.state = self.STATE_CLOSED
        self._forget_backlog()
        self.forget_input()
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """The transport is full."""
        if self.holding is None or self.state == self.STATE_CLOSED:
            return
        if not (self._backlog or self._begin_backlog()).stick():
            self._drop("crowd")

    def _begin_backlog(self) -> Backlog:
        assert self.holding is not None
        seconds, stalled = self.factory.settings.slow_reader_seconds, partial(self._drop, "time")
        self._backlog = Backlog(self.transport, self.holding, self.factory.clock, seconds, stalled)
        return self._backlog

    def resumeProducing(self) -> None:
        """The transport is empty."""
        backlog = self._backlog
        if backlog is None:
            return
        backlog.unstick()
        self._resume(backlog)

    def _resume(self, backlog: Backlog) -> None:
        """Write what waits, as far as there is room and time."""
        if self._backlog is not backlog or not backlog.go_on():
            return
        if backlog.write_some(self.transport.write):
            self.pace.later(f"write {self.name}", partial(self._resume, backlog))
        elif self._backlog is backlog and not backlog.paused:
            self._forget_backlog()
            if self._closing:
                self.sendClose()

    def stopProducing(self) -> None:
        """The transport is gone; :meth:`onClose` follows."""

    def _drop(self, reason: str) -> None:
        self.factory.settings.dropped(reason)
        self.abort()

    def crowded(self) -> None:
        """There is no room for what the client sends."""
        self._drop("crowd")

    def failed(self, error: Exception) -> None:
        """What the client sent met a fault of ours: the end of this connection, and no more."""
        self.factory.shared.failed(error)
        self.abort()

    def _forget_backlog(self) -> None:
        backlog, self._backlog = self._backlog, None
        if backlog is not None:
            backlog.close()

    def _abort_later(self) -> None:
        if self._abortion is None:
            seconds = self.factory.settings.close_timeout
            self._abortion = self.factory.clock.callLater(seconds, self.abort)

    # What Autobahn calls

    def onConnect(self, request: ConnectionRequest) -> tuple[str | None, dict[str, Any]]:
        """Accept, speaking the first subprotocol that the client offers."""
        headers: dict[str, Any] = {}
        for name, value in self.answer_headers:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        return (request.protocols[0] if request.protocols else None), headers

    def onOpen(self) -> None:
        """The 101 is written."""
        self.factory.open.add(self)
        self.transport.registerProducer(self, True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message."""
        if self.owner is not None:
            self.owner.websocket_message(self, payload, isBinary)

    def onPing(self, payload: bytes) -> None:
        """Answer, unless the client is not reading: then a later ping will do (RFC 6455 section 5.5.3)."""
        if self._backlog is None:
            super().onPing(payload)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Start or answer the closing handshake, which must not take for ever.

        What was wrong about a client is told by a code alone, as the peers do.
        """
        self._closing = True
        self._abort_later()
        super().sendCloseFrame(code, reasonUtf8 if isReply else None, isReply)
        if self.failedByMe or isReply:
            self._lose(clean=not self.failedByMe)

    def dropConnection(self, abort: bool = False) -> None:
        """The closing handshake is done; what was written still goes out, or is cut off in time."""
        super().dropConnection(abort=False)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The transport is gone."""
        self._closing = True
        self.forget_input()
        if self._abortion is not None and self._abortion.active():
            self._abortion.cancel()
        self._abortion = None
        try:
            self._lose(clean=wasClean and not self.failedByMe)
        finally:
            if self.place is not None:
                self.place.leave()
            self.factory.lost(self)

    def _lose(self, *, clean: bool) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            if self._backlog is not None:
                self._forget_backlog()
            self.give_back_input()
            owner.websocket_lost(self, clean=clean)


class EngineWebSocketFactory(WebSocketServerFactory):
    """Makes the WebSockets of one endpoint, and knows the open ones."""

    def __init__(
        self,
        settings: EndpointSettings,
        clock: IReactorTime,
        kind: type[EngineWebSocket] = EngineWebSocket,
        shared: Shared | None = None,
    ) -> None:
        super().__init__(server="", reactor=clock)
        self.settings = settings
        self.clock = clock
        self.shared = shared or Shared(settings, clock)
        self.open: set[EngineWebSocket] = set()
        self._closed: list[Deferred[None]] = []
        self.setProtocolOptions(
            maxMessagePayloadSize=settings.max_payload,
            failByDrop=False,
            echoCloseCodeReason=True,
            # Timers of ours do this, on our clock and covering every way to close.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
        )
        self._kind = self._specialise(kind)
        if settings.fast_frames:
            self._kind = self._opened(self._kind)

    def _specialise(self, kind: type[EngineWebSocket]) -> type[EngineWebSocket]:
        """The protocol with these options on the class, where they cost no connection any memory."""
        options = {name: getattr(self, name) for name in kind.CONFIG_ATTRS}
        options["perMessageCompressionAccept"] = staticmethod(self.perMessageCompressionAccept)
        return type(kind.__name__, (kind,), {**options, "factory": self, "pace": self.shared.pace})

    def _opened(self, kind: type[EngineWebSocket]) -> type[EngineWebSocket]:
        """The protocol in the state after its opening handshake."""
        first = kind()
        attributes = learn(first)
        self._forget(first)
        return kind if attributes is None else type(kind.__name__, (kind,), attributes)

    def build(self) -> EngineWebSocket:
        """A WebSocket that has no transport yet."""
        return self._kind()

    def _forget(self, websocket: EngineWebSocket) -> None:
        """One was opened that does not count."""
        self.open.discard(websocket)
        self.countConnections -= 1

    def lost(self, websocket: EngineWebSocket) -> None:
        """One is gone."""
        self.open.discard(websocket)
        if not self.open:
            closed, self._closed = self._closed, []
            for waiting in closed:
                waiting.callback(None)

    def all_closed(self) -> Deferred[None]:
        """Fires as soon as no WebSocket is open."""
        waiting: Deferred[None] = Deferred()
        if self.open:
            self._closed.append(waiting)
        else:
            waiting.callback(None)
        return waiting
