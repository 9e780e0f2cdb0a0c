"""Realtime sockets: Socket.IO over WebSocket (realtime.md A and B)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.client._engine import Engine
from happy.client._errors import Disconnected, RpcFailed, SocketRefused
from happy.client._mailbox import Mailbox, Predicate
from happy.client._packets import Kind, Packet
from happy.client._waiting import within
from happy.client._websocket import connect
from happy.client.http import RemoteServer
from happy.wire.outgoing import encode_ack, encode_disconnect, encode_event

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

Listener = Callable[..., Any]
Method = Callable[[Any], Any | Awaitable[Any]]
"""Answers remote calls: takes the parameters, returns the result or an awaitable of it."""

CALL_TIMEOUT: Final = 30.0
"""Seconds that a call waits for its answer unless told otherwise."""

METHOD_FAILED: Final = "The method failed"
"""What the caller of a method that failed is told: why may be nothing for the server to read."""

NO_RESULT: Final = "The method answered nothing"

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


class Link(Protocol):
    """A socket's way to the server."""

    def send(self, text: bytes) -> None:
        """Send one Engine.IO packet; nothing happens once the connection is closing."""

    def close(self, reason: str) -> None:
        """End the connection after what was sent has gone."""

    def abort(self, reason: str) -> None:
        """End the connection at once, as a failing network does."""


class Socket:
    """A socket of the main namespace; made by :func:`open_socket`.

    Every event goes to the listeners of its name and, except for remote calls that a registered method
    answers, is kept for ``next_event``. Waiting is bounded by a number of seconds on ``clock``.

    ``id`` is its public name. ``pid``, ``offset`` and ``recovered`` are those of connection state
    recovery (realtime.md A.14), as far as the server offers it.
    """

    log = Logger()

    def __init__(
        self, link: Link, auth: Mapping[str, Any], clock: IReactorTime, *, keep: int = KEPT_EVENTS
    ) -> None:
        self.id = ""
        self.pid: str | None = None
        self.offset: str | None = None
        self._link = link
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

    # Being connected

    @property
    def connected(self) -> bool:
        """Whether the socket is in and not yet gone."""
        return bool(self.id) and self._ended is None

    @property
    def recovered(self) -> bool:
        """Whether the server took this socket for the one that it continues."""
        return self.pid is not None and self.pid == self._auth.get("pid")

    async def joined(self, timeout: float) -> None:
        """Wait to be let in, once. Raises SocketRefused, Disconnected or TimeoutError; it is closed then."""
        try:
            await within(timeout, self._joining, self._clock)
        except Exception:
            # Deferred cancellation too: whoever gives up must not leave a socket behind.
            await self.close()
            raise

    def closed(self) -> Deferred[str]:
        """Fires when the socket is gone, with the reason."""
        if self._ended is not None:
            return succeed(self._ended.reason)
        waiting: Deferred[str] = Deferred(self._closing.remove)
        self._closing.append(waiting)
        return waiting

    async def close(self, timeout: float = 5.0) -> None:
        """Leave in good order and wait until the connection is gone; cut it if that takes too long."""
        if self._ended is not None:
            return
        gone = self.closed()
        if self.connected:
            self._link.send(encode_disconnect().text)
        self._link.close("client namespace disconnect")
        too_slow = self._clock.callLater(timeout, self._link.abort, "")
        await gone
        if too_slow.active():
            too_slow.cancel()

    def abort(self) -> None:
        """Cut the connection at once, as a failing network does."""
        self._link.abort("transport close")

    # Events

    def emit(self, name: str, *arguments: Any) -> None:
        """Send an event that asks for no answer; a ``msgspec.Raw`` among its arguments is JSON already.

        Raises Disconnected.
        """
        self._send(encode_event(name, *arguments).text)

    async def call(self, name: str, *arguments: Any, timeout: float = CALL_TIMEOUT) -> Any:
        """Send an event and return what it is acknowledged with: the first argument, or None without any.

        Raises Disconnected, or ``twisted.internet.defer.TimeoutError``.
        """
        ack_id = self._next_call
        self._next_call += 1
        self._send(encode_event(name, *arguments, ack_id=ack_id).text)
        answer: Deferred[list[Any]] = Deferred()
        self._calls[ack_id] = answer
        try:
            answered = await within(timeout, answer, self._clock)
        finally:
            self._calls.pop(ack_id, None)
        return answered[0] if answered else None

    def on(self, name: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the arguments of every event called ``name``; returns how to stop that."""
        listeners = self._listeners.setdefault(name, [])
        listeners.append(listener)
        return partial(listeners.remove, listener)

    def on_update(self, listener: Listener) -> Callable[[], None]:
        """Hear every durable change (realtime.md B.4); see :meth:`on`."""
        return self.on("update", lambda update, *_: listener(update))

    def on_ephemeral(self, listener: Listener) -> Callable[[], None]:
        """Hear every passing signal; see :meth:`on`."""
        return self.on("ephemeral", lambda signal, *_: listener(signal))

    async def next_event(self, name: str, wants: Predicate | None = None, timeout: float = 10.0) -> Any:
        """The first argument of the earliest event called ``name`` that ``wants`` accepts and nobody took.

        Raises Disconnected, or ``twisted.internet.defer.TimeoutError``.
        """
        taken = self._mailbox.take(name, wants or (lambda _: True))
        return await within(timeout, taken, self._clock)

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
        """Answer remote calls of ``method`` from now on; returns when the server knows.

        Where it fails, the caller gets an object with ``error`` for a result.
        """
        self._methods[method] = answer
        self.emit("rpc-register", {"method": method})
        await self.next_event("rpc-registered", {"method": method}.__eq__, timeout)

    async def unregister(self, method: str, timeout: float = CALL_TIMEOUT) -> None:
        """Answer remote calls of ``method`` no longer; returns when the server knows."""
        self.emit("rpc-unregister", {"method": method})
        await self.next_event("rpc-unregistered", {"method": method}.__eq__, timeout)
        self._methods.pop(method, None)

    async def rpc(self, method: str, params: Any = None, timeout: float = 60.0) -> Any:
        """Call a method that some socket of the account answers.

        The server itself gives up after 15 seconds without such a socket, and 30 without an answer.

        Raises RpcFailed for the server's error, for the method's own unless it is sealed, and where there is
        no result: a method that returns nothing answers ``null``.
        """
        answer = await self.call("rpc-call", {"method": method, "params": params}, timeout=timeout)
        if not answer["ok"]:
            raise RpcFailed(answer["error"])
        if "result" not in answer:
            raise RpcFailed(NO_RESULT)
        return checked(answer["result"])

    # What the connection says

    def opened(self) -> None:
        """The transport is ready: ask to be let in. For the connection."""
        self._link.send(b"40" + msgspec.json.encode(self._auth))

    def packet(self, packet: Packet) -> None:
        """The server said something. For the connection."""
        if packet.kind is Kind.EVENT:
            self._event(*packet.payload, ack_id=packet.ack_id)
        elif packet.kind is Kind.ACK:
            self._answered(packet.payload, packet.ack_id)
        elif packet.kind is Kind.CONNECT:
            self.id, self.pid = packet.payload["sid"], packet.payload.get("pid")
            if self.offset is None and self.recovered:
                self.offset = self._auth.get("offset")
            self._joining.callback(None)
        elif packet.kind is Kind.CONNECT_ERROR:
            self._joining.errback(SocketRefused(packet.payload["message"]))
        else:
            self._link.close("server namespace disconnect")

    def lost(self, reason: str) -> None:
        """The connection is gone: everything that is awaited fails. For the connection."""
        self._ended = Disconnected(reason)
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
        self._link.send(text)

    def _answered(self, arguments: list[Any], ack_id: int | None) -> None:
        call = self._calls.pop(ack_id, None) if ack_id is not None else None
        if call is not None:
            call.callback(arguments)

    def _event(self, name: str, *arguments: Any, ack_id: int | None) -> None:
        if ack_id is None and arguments and isinstance(arguments[-1], str):
            self.offset = arguments[-1]
        for listener in tuple(self._listeners.get(name, ())):
            try:
                listener(*arguments)
            except Exception:
                # A listener is the program's; other listeners and the connection are not its victims.
                self.log.failure("A listener of {name} failed", name=name)
        first: Any = arguments[0] if arguments else None
        if name == "rpc-request" and ack_id is not None and first["method"] in self._methods:
            Deferred.fromCoroutine(self._answer(first["method"], first.get("params"), ack_id))
        else:
            self._mailbox.put(name, first)

    async def _answer(self, method: str, params: Any, ack_id: int) -> None:
        """Answer a remote call."""
        try:
            result = self._methods[method](params)
            packet = encode_ack(ack_id, [await result if inspect.isawaitable(result) else result])
        except Exception:
            # Whatever the method raised or answered, the caller waits for an acknowledgement.
            self.log.failure("A remote call failed")
            packet = encode_ack(ack_id, [{"error": METHOD_FAILED}])
        self._link.send(packet.text)


def checked(result: Any) -> Any:
    """The result of a remote call. Raises RpcFailed for one that says that the method failed."""
    if isinstance(result, dict) and isinstance(result.get("error"), str):
        raise RpcFailed(result["error"])
    return result


def _of_type(member: str, wants: Predicate | str | None, *, body: str | None = None) -> Predicate | None:
    """A predicate on the type of an update or signal, unless ``wants`` is one already."""
    if not isinstance(wants, str):
        return wants
    return lambda value: bool((value[body] if body else value)[member] == wants)


async def open_socket(
    server: RemoteServer,
    token: str | None,
    scope: Scope,
    *,
    app_state: str | None = None,
    after: Socket | None = None,
    keep: int = KEPT_EVENTS,
    timeout: float = 10.0,
) -> Socket:
    """Connect a socket and wait until the server lets it in.

    ``app_state`` is the focus state it begins with. ``after`` is a lost socket that this one continues
    where the server offers recovery. ``keep`` is how many events wait for ``next_event``; listeners of
    the result hear everything that comes after this function returned.

    Raises SocketRefused, Disconnected, ``twisted.internet.defer.TimeoutError``, or what connecting raises.
    """
    auth = scope.auth(token) | {"happyClient": server.client}
    if app_state is not None:
        auth["appState"] = app_state
    if after is not None and after.pid is not None:
        auth |= {"pid": after.pid, "offset": after.offset}

    def start(engine: Engine) -> Socket:
        return Socket(engine, auth, server.reactor, keep=keep)

    connecting = Deferred.fromCoroutine(connect(server.url, start, server.reactor, server.endpoint))
    socket = await within(timeout, connecting, server.reactor)
    await socket.joined(timeout)
    return socket
