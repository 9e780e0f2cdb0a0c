"""One Engine.IO connection: carries out what its session asks for, and keeps its timers.

What sits on top implements :class:`Handler`; the requests and WebSockets below are driven through
:mod:`happy.realtime.polling` and :mod:`happy.realtime.websocket`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from happy.realtime import polling
from happy.wire.engine_events import (
    Abort,
    Accept,
    Answer,
    CloseWebSocket,
    Deliver,
    Effect,
    Ended,
    Forgotten,
    Refuse,
    Upgraded,
    Write,
)
from happy.wire.engine_session import EngineSession
from happy.wire.engineio import EncodedPacket, EngineSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.web.http import Request

    from happy.realtime.websocket import RealtimeWebSocket

_MESSAGE: Final = ord("4")
_STALLED: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSettings(EngineSettings):
    """Everything about an endpoint that may differ, in seconds and bytes (realtime.md A.1, D-21)."""

    path: str = "/v1/updates/"
    """Prefix of the request targets served, with its slash; the path without it is served too."""

    connect_timeout: float = 20.0
    """How long a connection may stay without joining a namespace."""

    max_queued_bytes: int = 16 * 1024 * 1024
    """A client for which more than this is unsent is dropped."""

    max_queued_by_all: int = 512 * 1024 * 1024
    """While more than this is unsent to all WebSockets, those with more than an equal share are dropped."""

    max_polling: int = 20_000
    """Sessions on polling, which need no connection of their own and no login; more are refused."""

    slow_reader_seconds: float = 60.0
    """A WebSocket client that leaves our buffers full for so long is dropped."""

    dropped: Callable[[str], None] = lambda reason: None
    """Told of every slow client that is dropped, for its ``size`` (what is queued), for its ``time``, or
    because it had the largest part in a ``crowd``."""

    fast_frames: bool = True
    """Whether whole text frames bypass Autobahn's frame parser; the behaviour is the same."""

    close_timeout: float = 5.0
    """How long a closing connection may take before it is cut."""

    kept_headers: Collection[str] = ("x-happy-client",)
    """Lower-case names of the request headers that handshakes keep, for as long as the connection lives."""


class Handler(Protocol):
    """What sits on an Engine.IO connection."""

    def message(self, data: bytes, binary: bool) -> None:
        """The client sent a message; ``data`` is UTF-8 unless ``binary``."""

    def ended(self, reason: str) -> None:
        """The connection is over; called once, never from inside ``send`` or ``close``."""


class EngineConnection:
    """One client. The endpoint makes it, and sets ``handler`` before anything else happens."""

    __slots__ = ("_clock", "_closing", "_forget", "_session", "_settings", "_timer", "_websocket", "handler")

    handler: Handler

    def __init__(
        self, sid: str, settings: RealtimeSettings, clock: IReactorTime, forget: Callable[[str], None]
    ) -> None:
        """``forget`` is called with the sid when it no longer means anything."""
        self._session = EngineSession(sid, settings, clock.seconds())
        self._settings = settings
        self._clock = clock
        self._forget = forget
        self._timer: IDelayedCall | None = None
        self._websocket: RealtimeWebSocket | None = None
        self._closing = False

    # For the handler

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``."""
        return self._session.transport

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted for the client that the operating system has not taken yet."""
        return self._session.queued_bytes if self._websocket is None else self._websocket.queued_bytes

    def send(self, packet: EncodedPacket) -> None:
        """Pass a packet on, in order; does nothing once the connection is closing. Never blocks."""
        if self._closing:
            return
        if self._websocket is not None:
            self._websocket.send_frames(packet.frames)
            return
        self._perform(self._session.send(packet))
        if self._session.queued_bytes > self._settings.max_queued_bytes:
            self._settings.dropped("size")
            self._soon(self.break_off)

    def close(self, reason: str) -> None:
        """End the connection, after what was sent before. The handler hears of it a moment later."""
        if not self._closing:
            self._soon(self.shut, reason)

    # For the endpoint and the transports

    def open_polling(self, request: Request) -> None:
        """Start on polling, with this GET."""
        self._perform(self._session.open_polling(request))

    def open_websocket(self, websocket: RealtimeWebSocket) -> None:
        """Start on an open WebSocket."""
        websocket.owner = self
        self._websocket = websocket
        self._perform(self._session.open_websocket(websocket))

    def poll(self, request: Request) -> None:
        """A GET for this session."""
        request.notifyFinish().addErrback(self._poll_lost, request)
        self._perform(self._session.poll(request, self._clock.seconds()))

    def begin_post(self, request: Request) -> None:
        """A POST for this session, whose body is still to come. Answers it at once if there is another."""
        self._perform(self._session.post_begun(request, self._clock.seconds()))

    def lose_post(self, request: Request) -> None:
        """The connection of a POST broke before its body was complete."""
        self._perform(self._session.post_lost(request, self._clock.seconds()))

    def refuse_post(self, request: Request) -> None:
        """The endpoint answered a POST by itself."""
        self._session.post_refused(request)

    def post(self, request: Request, body: bytes) -> None:
        """A POST for this session, with its whole body."""
        now = self._clock.seconds()
        self._perform(self._session.post_begun(request, now))
        self._perform(self._session.post(request, body, now))

    def offer(self, websocket: RealtimeWebSocket) -> None:
        """An open WebSocket names this session."""
        websocket.owner = self
        self._perform(self._session.offer(websocket, self._clock.seconds()))

    def websocket_message(self, websocket: RealtimeWebSocket, data: bytes, binary: bool) -> None:
        """A whole message; ``data`` is UTF-8 unless ``binary``."""
        if self._closing:
            return
        if websocket is not self._websocket:
            self._perform(self._session.received(websocket, data, binary, self._clock.seconds()))
        elif binary:
            self.handler.message(data, True)
        elif data and data[0] == _MESSAGE:
            # Messages change nothing about a session that is on WebSocket.
            self.handler.message(data[1:], False)
        else:
            self._perform(self._session.received(websocket, data, False, self._clock.seconds()))

    def websocket_lost(self, websocket: RealtimeWebSocket, *, clean: bool) -> None:
        """A WebSocket is gone; ``clean`` if its client closed it in due form."""
        self._perform(self._session.websocket_lost(websocket, self._clock.seconds(), clean=clean))

    def shut(self, reason: str) -> None:
        """End the connection now, after what was sent before."""
        self._perform(self._session.shut(reason, self._clock.seconds()))

    def break_off(self) -> None:
        """End the connection now; what is queued does not matter."""
        if self._websocket is not None:
            self._websocket.abort()
        self._perform(self._session.break_off(self._clock.seconds()))

    def discard(self) -> None:
        """Keep nothing, not even the memory of a close; for shutting down, after :meth:`shut`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _soon(self, action: Callable[..., None], *arguments: Any) -> None:
        """End outside of whatever the program is just doing with its sockets."""
        if not self._closing:
            self._closing = True
            self._clock.callLater(0, action, *arguments)

    def _poll_lost(self, _reason: object, request: Request) -> None:
        self._perform(self._session.poll_lost(request, self._clock.seconds()))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            _PERFORMERS[type(effect)](self, effect)
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self._session.next_deadline
        timer = self._timer
        if timer is not None:
            if deadline is not None and timer.getTime() <= deadline:
                return  # It will find nothing to do, and be set anew: cheaper than moving it each time.
            timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        deadline = self._session.next_deadline
        if deadline is not None and self._clock.seconds() - deadline > _STALLED:
            # We were held up ourselves: the pong that is due may be here already, waiting to be read.
            self._timer = self._clock.callLater(0, self._tick_now)
        else:
            self._tick_now()

    def _tick_now(self) -> None:
        self._timer = None
        self._perform(self._session.tick(self._clock.seconds()))

    def _deliver(self, effect: Deliver) -> None:
        if not self._closing:
            self.handler.message(effect.data, effect.binary)

    def _upgrade(self, effect: Upgraded) -> None:
        self._websocket = effect.websocket

    def _end(self, effect: Ended) -> None:
        self._closing = True
        self._websocket = None
        self.handler.ended(effect.reason)

    def _gone(self, effect: Forgotten) -> None:
        self._forget(self._session.sid)


def _answer(connection: EngineConnection, effect: Answer) -> None:
    polling.answer_poll(effect.request, effect.packets)


def _accept(connection: EngineConnection, effect: Accept) -> None:
    polling.answer_post(effect.request)


def _refuse(connection: EngineConnection, effect: Refuse) -> None:
    polling.refuse(effect.request, effect.problem)


def _abort(connection: EngineConnection, effect: Abort) -> None:
    polling.abort(effect.request)


def _write(connection: EngineConnection, effect: Write) -> None:
    for packet in effect.packets:
        effect.websocket.send_frames(packet.frames)


def _close(connection: EngineConnection, effect: CloseWebSocket) -> None:
    effect.websocket.close()


_PERFORMERS: Final[dict[type[Any], Callable[[EngineConnection, Any], None]]] = {
    Answer: _answer,
    Accept: _accept,
    Refuse: _refuse,
    Abort: _abort,
    Write: _write,
    CloseWebSocket: _close,
    Deliver: EngineConnection._deliver,
    Upgraded: EngineConnection._upgrade,
    Ended: EngineConnection._end,
    Forgotten: EngineConnection._gone,
}
