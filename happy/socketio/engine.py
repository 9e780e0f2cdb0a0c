"""One Engine.IO connection: carries out what its session asks for, and keeps its timers.

What sits on top implements :class:`Handler`; the requests and WebSockets below are driven through
:mod:`happy.socketio.polling` and :mod:`happy.socketio.websocket`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from happy.socketio import polling
from happy.socketio.kept import Kept
from happy.wire.engine_events import (
    Abort,
    Accept,
    AnswerPoll,
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
from happy.wire.engineio import EncodedPacket

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.web.http import Request

    from happy.socketio.shared import EndpointSettings, Shared
    from happy.socketio.websocket import EngineWebSocket

_MESSAGE: Final = ord("4")
_STALLED: Final = 0.05


class Handler(Protocol):
    """What sits on an Engine.IO connection."""

    def message(self, data: bytes, binary: bool) -> None:
        """The client sent a message; ``data`` is UTF-8 unless ``binary``."""

    def ended(self, reason: str) -> None:
        """The connection is over; called once, never from inside ``send`` or ``close``."""


class _Nobody:
    """The handler of a connection that is over."""

    def message(self, data: bytes, binary: bool) -> None:
        """Nobody listens."""

    def ended(self, reason: str) -> None:
        """It did already."""


_NOBODY: Final = _Nobody()


class EngineConnection(Kept):
    """One client. The endpoint makes it, and sets ``handler`` before anything else happens.

    ``pace`` is how long the reactor stays with what it sends.
    """

    __slots__ = (
        "_attached",
        "_body",
        "_clock",
        "_closing",
        "_forget",
        "_forgotten",
        "_queued",
        "_session",
        "_settings",
        "_timer",
        "_websocket",
        "handler",
        "pace",
    )

    handler: Handler

    def __init__(
        self,
        sid: str,
        settings: EndpointSettings,
        clock: IReactorTime,
        shared: Shared,
        owner: str,
        forget: Callable[[str], None],
    ) -> None:
        """``forget`` is called with the sid when it no longer means anything."""
        super().__init__(shared, owner)
        self._session = EngineSession(sid, settings, clock.seconds())
        self._settings = settings
        self._clock = clock
        self._forget = forget
        self._timer: IDelayedCall | None = None
        self._websocket: EngineWebSocket | None = None
        self._closing = False
        self._attached = self._queued = self._body = 0
        self._forgotten = False
        self.pace = shared.pace

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
            self.drop("size")

    def close(self, reason: str) -> None:
        """End the connection, after what was sent before. The handler hears of it a moment later."""
        if not self._closing:
            self._soon(self.shut, reason)

    def give_up(self) -> None:
        """Somebody else needs what this client has. For :class:`happy.base.bounds.Budget`."""
        self._closing = True
        self._settings.dropped("crowd")
        if self._websocket is not None:
            self._websocket.abort()
        self._later(self.break_off)

    def handler_failed(self, what: str, error: Exception) -> None:
        """What sits on top failed; that is its own, and never the connection's."""
        self._settings.handler_failed(what, error)

    def _is_light(self) -> bool:
        return self._websocket is not None

    def drop(self, reason: str) -> None:
        """Cut the connection a moment later, for one of the reasons that the settings name."""
        if not self._closing:
            self._settings.dropped(reason)
            self._soon(self.break_off)

    # For the endpoint and the transports

    def open_polling(self, request: Request) -> None:
        """Start on polling, with this GET."""
        self._perform(self._session.open_polling(request))

    def open_websocket(self, websocket: EngineWebSocket) -> None:
        """Start on an open WebSocket."""
        self._attach(websocket)
        self._websocket = websocket
        self._perform(self._session.open_websocket(websocket))
        if self._queued:
            self._count_queue()

    def poll(self, request: Request) -> None:
        """A GET for this session."""
        request.notifyFinish().addErrback(self._poll_lost, request)
        self._try(self._session.poll, request)

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
        """A POST for this session, with its whole body, which is worked on as there is time for it."""
        now = self._clock.seconds()
        self._perform(self._session.post_begun(request, now))
        self._perform(self._session.post(request, body, now))
        if not self._session.unfinished:
            return
        self._body = len(body)
        if not self.holding.take(self._body):
            self._body = 0
            self.drop("crowd")
        if not self.pace.told:
            self.pace.begin()
        self._work()

    def go_on(self) -> None:
        """Work on a POST that had to wait. For :class:`happy.base.pace.Pace`."""
        self._try(self._session.proceed)
        self._work()

    def _work(self) -> None:
        session = self._session
        while session.unfinished:
            if self.pace.over():
                self.pace.wait(self.name, self)
                return
            self._try(session.proceed)
        self.holding.give_back(self._body)
        self._body = 0

    def offer(self, websocket: EngineWebSocket) -> None:
        """An open WebSocket names this session."""
        self._attach(websocket)
        self._perform(self._session.offer(websocket, self._clock.seconds()))

    def websocket_message(self, websocket: EngineWebSocket, data: bytes, binary: bool) -> None:
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

    def websocket_lost(self, websocket: EngineWebSocket, *, clean: bool) -> None:
        """A WebSocket is gone; ``clean`` if its client closed it in due form."""
        if websocket is self._websocket:
            self._websocket = None
        self._attached -= 1
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
            self._later(action, *arguments)

    def _later(self, action: Callable[..., None], *arguments: Any) -> None:
        """Not behind what the client has sent, and not all at once where thousands end."""
        self.pace.later(f"end {self.name}", partial(action, *arguments))

    def _poll_lost(self, _reason: object, request: Request) -> None:
        self._perform(self._session.poll_lost(request, self._clock.seconds()))

    def _attach(self, websocket: EngineWebSocket) -> None:
        self._attached += 1
        websocket.attach(self)

    def _try(self, report: Callable[..., Sequence[Effect]], *details: Any) -> None:
        """Act on something that a client did; a fault of ours is the end of its connection, and no more."""
        try:
            self._perform(report(*details, self._clock.seconds()))
        except Exception as error:
            self._shared.failed(error)
            self.break_off()

    def _perform(self, effects: Sequence[Effect]) -> None:
        if self._websocket is None and self._session.queued_bytes != self._queued:
            self._count_queue()
        for effect in effects:
            _PERFORMERS[type(effect)](self, effect)
        if self._forgotten and not self._attached:
            self.holding.close()
        self._set_timer()

    def _count_queue(self) -> None:
        """What waits for a poll counts as its owner's."""
        former, self._queued = self._queued, self._session.queued_bytes
        if self._queued < former:
            self.holding.give_back(former - self._queued)
        elif not self.holding.take(self._queued - former):
            self._queued = former
            self.drop("crowd")

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

    def _answer(self, effect: AnswerPoll) -> None:
        polling.answer_poll(effect.request, effect.packets, self._large_answer)

    def _large_answer(self, request: Request) -> polling.LargeAnswer:
        seconds = self._settings.slow_reader_seconds
        return polling.LargeAnswer(request, self._shared, self.name, self._clock, seconds)

    def _upgrade(self, effect: Upgraded) -> None:
        self._websocket = effect.websocket
        self._count_queue()
        self.upgraded()

    def _end(self, effect: Ended) -> None:
        self._closing = True
        handler, self.handler = self.handler, _NOBODY
        handler.ended(effect.reason)

    def _gone(self, effect: Forgotten) -> None:
        self._forgotten = True
        self._forget(self._session.sid)


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
    AnswerPoll: EngineConnection._answer,
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
