"""Realtime sockets: Socket.IO over WebSocket (realtime.md A and B)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.client._errors import Disconnected, RpcFailed, SocketRefused
from happy.client._mailbox import Mailbox, Predicate
from happy.client._packets import Kind, Packet, decode_packet
from happy.wire.engineio import PacketType
from happy.wire.engineio import decode_packet as decode_engine_packet
from happy.wire.outgoing import encode_ack, encode_disconnect, encode_event

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

Listener = Callable[..., Any]
Method = Callable[[Any], Any | Awaitable[Any]]
"""Answers remote calls: takes the parameters, returns the result or an awaitable of it."""

CALL_TIMEOUT: Final = 30.0
"""Seconds that a call waits for its answer unless told otherwise."""

KEPT_EVENTS: Final = 1000
"""How many events a socket keeps for ``next_event`` unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a socket is about: the whole account, one session, or one machine."""

    kind: str
    members: Mapping[str, str]

    @classmethod
    def user(cls) -> Scope:
        """Everything of the account, as the app sees it."""
        return cls("user-scoped", {})

    @classmethod
    def session(cls, session: str) -> Scope:
        """One session, as a terminal serves it."""
        return cls("session-scoped", {"sessionId": session})

    @classmethod
    def machine(cls, machine: str) -> Scope:
        """One machine, as its daemon serves it."""
        return cls("machine-scoped", {"machineId": machine})

    def auth(self, token: str | None) -> dict[str, Any]:
        """The members of the CONNECT packet that say so."""
        return {"token": token, "clientType": self.kind, **self.members}


class Wire(Protocol):
    """The transport connection under a socket."""

    def send(self, text: bytes) -> None:
        """Send one Engine.IO packet."""

    def close(self) -> None:
        """End the connection after what was sent has gone."""

    def abort(self) -> None:
        """End the connection at once, as a failing network does."""


class _Open(msgspec.Struct, frozen=True, rename="camel"):
    ping_interval: int
    ping_timeout: int


class Socket:
    """A socket of the main namespace; :meth:`joined` tells when it is in.

    Every event goes to the listeners of its name and, except for remote calls that a registered method
    answers, is kept for ``next_event``. Waiting is bounded by a number of seconds on ``clock``.
    """

    log = Logger()

    def __init__(
        self, wire: Wire, auth: Mapping[str, Any], clock: IReactorTime, *, keep: int = KEPT_EVENTS
    ) -> None:
        self.id = ""
        self._wire = wire
        self._auth = auth
        self._clock = clock
        self._mailbox = Mailbox(keep)
        self._listeners: dict[str, list[Listener]] = {}
        self._methods: dict[str, Method] = {}
        self._calls: dict[int, Deferred[list[Any]]] = {}
        self._next_call = 0
        self._joining: Deferred[None] = Deferred()
        self._closing: list[Deferred[str]] = []
        self._ended: Disconnected | None = None
        self._heartbeat = 0.0
        self._silence: IDelayedCall | None = None

    # Being connected

    @property
    def connected(self) -> bool:
        """Whether the socket is in and not yet gone."""
        return bool(self.id) and self._ended is None

    def joined(self) -> Deferred[None]:
        """Fires when the server lets the socket in; fails with SocketRefused or Disconnected. To be used once."""
        return self._joining

    def closed(self) -> Deferred[str]:
        """Fires when the socket is gone, with the reason."""
        if self._ended is not None:
            return succeed(self._ended.reason)
        waiting: Deferred[str] = Deferred(self._closing.remove)
        self._closing.append(waiting)
        return waiting

    async def close(self, timeout: float = 5.0) -> None:
        """Leave in good order, and wait until the connection is gone; drop it if that takes too long."""
        if self._ended is not None:
            return
        gone = self.closed()
        self._wire.send(encode_disconnect().text)
        self._wire.close()
        too_slow = self._clock.callLater(timeout, self._wire.abort)
        await gone
        if too_slow.active():
            too_slow.cancel()

    def abort(self) -> None:
        """Drop the connection at once, as a failing network does."""
        self._wire.abort()

    # Events

    def emit(self, name: str, *arguments: Any) -> None:
        """Send an event that asks for no answer. Raises Disconnected."""
        self._send(encode_event(name, *arguments).text)

    async def call(self, name: str, *arguments: Any, timeout: float = CALL_TIMEOUT) -> Any:
        """Send an event and return what it is acknowledged with: the first argument, or None without any.

        Raises Disconnected, or ``twisted.internet.defer.TimeoutError``.
        """
        ack_id = self._next_call
        self._next_call += 1
        self._send(encode_event(name, *arguments, ack_id=ack_id).text)
        answer: Deferred[list[Any]] = Deferred(lambda _: self._calls.pop(ack_id, None))
        self._calls[ack_id] = answer
        answered = await answer.addTimeout(timeout, self._clock)
        return answered[0] if answered else None

    def on(self, name: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the arguments of every event called ``name``; returns how to stop that."""
        listeners = self._listeners.setdefault(name, [])
        listeners.append(listener)
        return partial(listeners.remove, listener)

    def on_update(self, listener: Listener) -> Callable[[], None]:
        """Hear every durable change (realtime.md B.4); see :meth:`on`."""
        return self.on("update", listener)

    def on_ephemeral(self, listener: Listener) -> Callable[[], None]:
        """Hear every passing signal; see :meth:`on`."""
        return self.on("ephemeral", listener)

    async def next_event(self, name: str, wants: Predicate | None = None, timeout: float = 10.0) -> Any:
        """The first argument of the earliest event called ``name`` that ``wants`` accepts and nobody took.

        Raises Disconnected, or ``twisted.internet.defer.TimeoutError``.
        """
        taken = self._mailbox.take(name, wants or (lambda _: True))
        return await taken.addTimeout(timeout, self._clock)

    async def next_update(self, wants: Predicate | str | None = None, timeout: float = 10.0) -> Any:
        """The earliest update (its whole envelope) that nobody took; ``wants`` may be the body's ``t``."""
        return await self.next_event("update", _of_type("t", wants, body="body"), timeout)

    async def next_ephemeral(self, wants: Predicate | str | None = None, timeout: float = 10.0) -> Any:
        """The earliest passing signal that nobody took; ``wants`` may be its ``type``."""
        return await self.next_event("ephemeral", _of_type("type", wants), timeout)

    def untaken(self, name: str) -> list[Any]:
        """The first arguments of the kept events called ``name``."""
        return self._mailbox.peek(name)

    # Remote calls

    async def register(self, method: str, answer: Method, timeout: float = CALL_TIMEOUT) -> None:
        """Answer remote calls of ``method`` from now on; returns when the server knows."""
        self._methods[method] = answer
        self.emit("rpc-register", {"method": method})
        await self.next_event("rpc-registered", {"method": method}.__eq__, timeout)

    async def unregister(self, method: str, timeout: float = CALL_TIMEOUT) -> None:
        """Answer remote calls of ``method`` no longer; returns when the server knows."""
        self.emit("rpc-unregister", {"method": method})
        await self.next_event("rpc-unregistered", {"method": method}.__eq__, timeout)
        self._methods.pop(method, None)

    async def rpc(self, method: str, params: Any = None, timeout: float = 60.0) -> Any:
        """Call a method that some socket of the account answers. Raises RpcFailed.

        The server itself gives up after 15 seconds without such a socket, and 30 without an answer.
        """
        answer = await self.call("rpc-call", {"method": method, "params": params}, timeout=timeout)
        if not answer["ok"]:
            raise RpcFailed(answer["error"])
        return answer.get("result")

    # What the connection says

    def received(self, text: bytes) -> None:
        """A packet came. For the connection."""
        packet = decode_engine_packet(text)
        if packet.type is PacketType.OPEN:
            opened = msgspec.json.decode(packet.data, type=_Open)
            self._heartbeat = (opened.ping_interval + opened.ping_timeout) / 1000
            self._expect_ping()
            self._wire.send(b"40" + msgspec.json.encode(self._auth))
        elif packet.type is PacketType.PING:
            self._expect_ping()
            self._wire.send(b"3")
        elif packet.type is PacketType.MESSAGE:
            self._dispatch(decode_packet(packet.data))

    def lost(self, reason: str) -> None:
        """The connection is gone. For the connection."""
        if self._ended is not None:
            return
        self._ended = Disconnected(reason)
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        failure = Failure(self._ended)
        if not self._joining.called:
            self._joining.errback(failure)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.errback(failure)
        self._mailbox.close(failure)
        closing, self._closing = self._closing, []
        for waiting in closing:
            waiting.callback(reason)

    def _send(self, text: bytes) -> None:
        if self._ended is not None:
            raise self._ended
        self._wire.send(text)

    def _expect_ping(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._clock.callLater(self._heartbeat, self._gone_silent)

    def _gone_silent(self) -> None:
        self._silence = None
        self.lost("ping timeout")
        self._wire.abort()

    def _dispatch(self, packet: Packet) -> None:
        if packet.kind is Kind.EVENT:
            self._event(packet.payload, packet.ack_id)
        elif packet.kind is Kind.ACK:
            call = self._calls.pop(packet.ack_id or 0, None)
            if call is not None:
                call.callback(packet.payload)
        elif packet.kind is Kind.CONNECT:
            self.id = packet.payload["sid"]
            self._joining.callback(None)
        elif packet.kind is Kind.CONNECT_ERROR:
            self._joining.errback(SocketRefused(packet.payload["message"]))
        else:
            self.lost("server namespace disconnect")
            self._wire.close()

    def _event(self, payload: Sequence[Any], ack_id: int | None) -> None:
        name, *arguments = payload
        for listener in tuple(self._listeners.get(name, ())):
            try:
                listener(*arguments)
            except Exception:
                self.log.failure("A listener of {name} failed", name=name)
        request = arguments[0] if arguments else None
        if name == "rpc-request" and ack_id is not None and request["method"] in self._methods:
            Deferred.fromCoroutine(self._answer(request, ack_id)).addErrback(self._unanswered)
        else:
            self._mailbox.put(name, request)

    async def _answer(self, request: Mapping[str, Any], ack_id: int) -> None:
        result = self._methods[request["method"]](request.get("params"))
        if inspect.isawaitable(result):
            result = await result
        self._send(encode_ack(ack_id, [result]).text)

    def _unanswered(self, failure: Failure) -> None:
        if not failure.check(Disconnected):
            self.log.failure("A method failed; its caller gets no answer", failure=failure)


def _of_type(member: str, wants: Predicate | str | None, *, body: str | None = None) -> Predicate | None:
    """A predicate on the type of an update or signal, unless ``wants`` is one already."""
    if not isinstance(wants, str):
        return wants
    return lambda value: bool((value[body] if body else value)[member] == wants)
