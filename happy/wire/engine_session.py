"""One Engine.IO session as a machine without I/O.

The driver reports what happens (requests, frames, losses, time) and carries out the effects that each
report returns, in order. Requests and WebSocket connections are opaque to the machine: the driver passes
them in and gets the same objects back inside effects.

Of a polling payload, which may hold thousands of packets, the machine takes one a step (``proceed``).
What each input does in each state is listed in :mod:`happy.wire.engine_table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from happy.wire.engine_events import (
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Abort,
    Accept,
    AnswerPoll,
    CloseWebSocket,
    Deliver,
    Effect,
    Ended,
    Forgotten,
    Input,
    Refuse,
    State,
    Upgraded,
    Write,
)
from happy.wire.engine_table import A_LITTLE_LATE, PACKETS, POLLED, TABLE, on_standby
from happy.wire.engineio import (
    CLOSE,
    NOOP,
    PACKET_BYTES,
    PING,
    POLLING,
    PROBE_ANSWER,
    WEBSOCKET,
    EncodedPacket,
    EngineProblem,
    EngineSettings,
    InvalidPacket,
    Packet,
    PacketType,
    decode_packet,
    encode_open,
    split_payload,
)


class EngineSession:
    """One client's session. Times are seconds on any clock that never goes back.

    Every method that reports something returns the effects that it calls for.
    """

    __slots__ = (
        "_candidate",
        "_due",
        "_effects",
        "_held",
        "_now",
        "_payload",
        "_posting",
        "_queue",
        "_queued_bytes",
        "_settings",
        "_websocket",
        "sid",
        "state",
    )

    def __init__(self, sid: str, settings: EngineSettings, now: float) -> None:
        """A session that is to start with :meth:`open_polling` or :meth:`open_websocket`."""
        self.sid = sid
        self.state = State.POLLING
        self._settings = settings
        self._now = now
        self._held: Any = None
        self._posting: Any = None
        self._payload: Iterator[bytes] | None = None
        self._candidate: Any = None
        self._websocket: Any = None
        self._queue: list[EncodedPacket] = []
        self._queued_bytes = 0
        self._effects: list[Effect] = []
        self._due: dict[Input, float] = {}

    def open_polling(self, request: Any) -> Sequence[Effect]:
        """Start on polling; the GET that asks for it is answered with the open packet."""
        self._arm(Input.PING_DUE, self._settings.ping_interval)
        return [AnswerPoll(request, (encode_open(self.sid, (WEBSOCKET,), self._settings),))]

    def open_websocket(self, websocket: Any) -> Sequence[Effect]:
        """Start on an open WebSocket; what was sent before follows the open packet."""
        self.state = State.WEBSOCKET
        self._websocket = websocket
        self._arm(Input.PING_DUE, self._settings.ping_interval)
        return [Write(websocket, (encode_open(self.sid, (), self._settings), *self._take_queue()))]

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``."""
        return POLLING if self._websocket is None else WEBSOCKET

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for a poll, with what each packet costs."""
        return self._queued_bytes

    @property
    def unfinished(self) -> bool:
        """Whether there is more of a POST to work on: :meth:`proceed` is to be called."""
        return self._payload is not None

    @property
    def next_deadline(self) -> float | None:
        """When :meth:`tick` is due; changes with every report."""
        return min(self._due.values(), default=None)

    def tick(self, now: float) -> Sequence[Effect]:
        """Time passed: do whatever is due by ``now``.

        What is a little late counts as on time, so that the delays of a busy driver do not add up.
        """
        for timer, due in [(timer, due) for timer, due in self._due.items() if due <= now]:
            if timer in self._due:
                del self._due[timer]
                self._now = due if now - due < A_LITTLE_LATE else now
                self._step(timer)
        return self._take()

    def poll(self, request: Any, now: float) -> Sequence[Effect]:
        """A GET."""
        self._now = now
        self._step(Input.POLL if self._held is None else Input.EXTRA_POLL, request)
        return self._take()

    def poll_lost(self, request: Any, now: float) -> Sequence[Effect]:
        """The connection of a GET without answer broke."""
        self._now = now
        if request is self._held:
            self._held = None
            self._step(Input.POLL_LOST)
        return self._take()

    def post_begun(self, request: Any, now: float) -> Sequence[Effect]:
        """The body of a POST begins to arrive; without effect if that is known already."""
        self._now = now
        if self._posting is None:
            self._posting = request
        elif request is not self._posting:
            self._step(Input.EXTRA_POST, request)
        return self._take()

    def post_lost(self, request: Any, now: float) -> Sequence[Effect]:
        """The connection of a POST broke before its body was complete."""
        self._now = now
        if request is self._posting:
            self._posting = self._payload = None
            self._step(Input.POST_LOST)
        return self._take()

    def post(self, request: Any, body: bytes, now: float) -> Sequence[Effect]:
        """The body of a POST is complete; without effect if :meth:`post_begun` answered it already.

        Where the session takes it, it is :attr:`unfinished` from then on.
        """
        self._now = now
        if request is self._posting:
            self._posting = None
            self._step(Input.POST, request, body)
        return self._take()

    def proceed(self, now: float) -> Sequence[Effect]:
        """Take the next packet of the POST, if the session still cares; answer it after the last."""
        self._now = now
        packet = next(self._payload, None) if self._payload and self.state in POLLED else None
        if packet is not None:
            self._receive(packet)
        elif self._payload is not None:
            self._effects.append(Accept(self._posting))
            self._payload = self._posting = None
        return self._take()

    def post_refused(self, request: Any) -> None:
        """The driver answered a POST by itself (too large): the session is not concerned."""
        if request is self._posting:
            self._posting = None

    def offer(self, websocket: Any, now: float) -> Sequence[Effect]:
        """An open WebSocket names this session."""
        self._now = now
        self._step(Input.OFFER, websocket)
        return self._take()

    def received(self, websocket: Any, data: bytes, binary: bool, now: float) -> Sequence[Effect]:
        """A whole WebSocket message, ``data`` being UTF-8 if it is text."""
        self._now = now
        if websocket is self._websocket:
            self._receive(Packet(PacketType.MESSAGE, data, binary=True) if binary else data)
        elif websocket is self._candidate:
            happened = on_standby(data, binary)
            # What is to come on the WebSocket must not overtake what came before.
            self._step(Input.STRAY if happened is Input.COMMIT and self.unfinished else happened)
        return self._take()

    def websocket_lost(self, websocket: Any, now: float, *, clean: bool) -> Sequence[Effect]:
        """A WebSocket is gone; ``clean`` if its client closed it in due form."""
        self._now = now
        if websocket is self._websocket:
            self._step(Input.LOST if clean else Input.FAILED)
        elif websocket is self._candidate:
            self._candidate = None
            self._step(Input.CANDIDATE_LOST)
        return self._take()

    def send(self, packet: EncodedPacket) -> Sequence[Effect]:
        """The program has something for the client."""
        self._step(Input.SEND, packet)
        return self._take()

    def shut(self, reason: str, now: float) -> Sequence[Effect]:
        """The server ends the session, after what was sent before."""
        self._now = now
        self._step(Input.SHUT if self._held is None else Input.SHUT_POLLED, reason)
        return self._take()

    def break_off(self, now: float) -> Sequence[Effect]:
        """The server gives the client up; nothing that is queued matters any more."""
        self._now = now
        self._step(Input.BREAK)
        return self._take()

    def _step(self, happened: Input, *details: Any) -> None:
        """Apply the table's row. What a state does not list has no effect in it."""
        row = TABLE[self.state].get(happened)
        if row is not None:
            following, action, *fixed = row
            self.state = following or self.state
            getattr(self, action)(*fixed, *details)

    def _take(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _arm(self, timer: Input, delay: float) -> None:
        self._due[timer] = self._now + delay

    def _receive(self, received: bytes | Packet) -> None:
        """A packet on the transport in use, decoded or not."""
        try:
            packet = received if isinstance(received, Packet) else decode_packet(received)
        except InvalidPacket:
            self._step(Input.GARBAGE)
            return
        happened = PACKETS[packet.type]
        if happened is Input.MESSAGE:
            self._step(happened, packet)
        elif happened is Input.CLOSE and self._held is not None:
            self._step(Input.CLOSE_POLLED)
        else:
            self._step(happened)

    def _take_queue(self) -> tuple[EncodedPacket, ...]:
        packets = tuple(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        return packets

    def _take_held(self) -> Any:
        request, self._held = self._held, None
        return request

    def _deliver(self, packet: Packet) -> None:
        self._effects.append(Deliver(packet.data, packet.binary))

    def _pong(self) -> None:
        self._due.pop(Input.PONG_DUE, None)
        self._arm(Input.PING_DUE, self._settings.ping_interval)

    def _ping(self) -> None:
        self._arm(Input.PONG_DUE, self._settings.ping_timeout)
        self._step(Input.SEND, PING)

    def _hold(self, request: Any) -> None:
        self._held = request
        self._flush()

    def _enqueue(self, packet: EncodedPacket) -> None:
        self._queue.append(packet)
        self._queued_bytes += len(packet.frames) + PACKET_BYTES
        self._flush()

    def _flush(self) -> None:
        if self._held is not None and self._queue:
            self._effects.append(AnswerPoll(self._take_held(), self._take_queue()))

    def _write(self, packet: EncodedPacket) -> None:
        self._effects.append(Write(self._websocket, (packet,)))

    def _accept(self, request: Any, body: bytes) -> None:
        self._posting, self._payload = request, iter(split_payload(body))

    def _ignore_post(self, request: Any, body: bytes = b"") -> None:
        self._effects.append(Accept(request))

    def _refuse(self, problem: EngineProblem, request: Any, body: bytes = b"") -> None:
        self._effects.append(Refuse(request, problem))

    def _refuse_websocket(self, websocket: Any) -> None:
        self._effects.append(CloseWebSocket(websocket))

    def _stand_by(self, websocket: Any) -> None:
        self._candidate = websocket
        self._arm(Input.UPGRADE_DUE, self._settings.upgrade_timeout)

    def _answer_probe(self) -> None:
        self._effects.append(Write(self._candidate, (PROBE_ANSWER,)))
        self._arm(Input.NOOP_DUE, self._settings.noop_interval)

    def _release_poll(self) -> None:
        if self._held is not None:
            self._effects.append(AnswerPoll(self._take_held(), (NOOP,)))
        self._arm(Input.NOOP_DUE, self._settings.noop_interval)

    def _commit(self) -> None:
        self._websocket, self._candidate = self._candidate, None
        self._due.clear()
        self._arm(Input.PING_DUE, self._settings.ping_interval)
        if self._held is not None:
            self._effects.append(Refuse(self._take_held(), EngineProblem.BAD_REQUEST))
        self._effects.append(Upgraded(self._websocket))
        if self._queue:
            self._effects.append(Write(self._websocket, self._take_queue()))

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            self._effects.append(CloseWebSocket(self._candidate))
            self._candidate = None
        self._due.pop(Input.UPGRADE_DUE, None)
        self._due.pop(Input.NOOP_DUE, None)

    def _overlap(self, request: Any) -> None:
        self._end(TRANSPORT_ERROR)
        self._effects.append(Refuse(request, None))

    def _overlap_post(self, request: Any) -> None:
        self._effects += (Refuse(request, None), Abort(self._posting))
        self._posting = self._payload = None
        self._end(TRANSPORT_ERROR)

    def _lose(self, reason: str) -> None:
        self._websocket = None
        self._end(reason)

    def _end(self, reason: str) -> None:
        """Over, at once: a held poll hears the close packet, WebSockets are closed."""
        if self._held is not None:
            self._effects.append(AnswerPoll(self._take_held(), (CLOSE,)))
        if self._websocket is not None:
            self._effects.append(CloseWebSocket(self._websocket))
        self._part(reason)
        self._forget()

    def _part(self, reason: str) -> None:
        """Over for the program on top."""
        self._drop_candidate()
        self._due.clear()
        self._effects.append(Ended(reason))

    def _forget(self) -> None:
        self._due.clear()
        self._take_queue()
        self._effects.append(Forgotten())

    def _linger(self) -> None:
        self._take_queue()
        self._part(TRANSPORT_CLOSE)
        self._arm(Input.FORGET_DUE, self._settings.linger)

    def _part_polled(self) -> None:
        self._effects.append(AnswerPoll(self._take_held(), (NOOP,)))
        self._part(TRANSPORT_CLOSE)
        self._forget()

    def _end_lingering(self, request: Any) -> None:
        self._effects.append(AnswerPoll(request, (NOOP,)))
        self._forget()

    def _drain(self, reason: str) -> None:
        self._part(reason)
        self._arm(Input.FORGET_DUE, self._settings.drain)

    def _end_draining(self, request: Any) -> None:
        self._effects.append(AnswerPoll(request, (*(self._take_queue() or (NOOP,)), CLOSE)))
        self._forget()
