"""Socket.IO on one Engine.IO connection: joins namespaces, and carries events and answers to the program."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from happy.socketio.socket import Answered, Application, ConnectRefused, Handshake, Socket, Undecided
from happy.wire.engineio import EncodedPacket, GatheredPacket, InvalidPacket
from happy.wire.incoming import Ack, Connect, Disconnect, EventPacket
from happy.wire.outgoing import MAIN, begin_ack, encode_ack, encode_connect, encode_connect_error
from happy.wire.socketio import (
    CLIENT_DISCONNECT,
    FORCED_CLOSE,
    FORCED_SERVER_CLOSE,
    SERVER_DISCONNECT,
    Namespaces,
    UnknownNamespace,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from happy.base.bounds import Holding
    from happy.socketio.engine import EngineConnection
    from happy.socketio.shared import EndpointSettings

INVALID_NAMESPACE: Final = "Invalid namespace"

MAX_REFUSALS: Final = 100
"""How often a client may be refused on one connection; real ones ask once."""

ATTACHMENT_SECONDS: Final = 30.0
"""How long the attachments of a packet may take, together."""


def new_id() -> str:
    """Twenty URL-safe characters that nobody can guess."""
    return secrets.token_urlsafe(15)


class SocketConnection:
    """The handler of an Engine.IO connection, and the link of the sockets on it."""

    __slots__ = (
        "_application",
        "_clock",
        "_engine",
        "_half",
        "_handshake",
        "_impatience",
        "_namespaces",
        "_over",
        "_refusals",
        "_sockets",
        "_undecided",
        "_unfinished",
        "send",
    )

    send: Callable[[EncodedPacket], None]
    """See :class:`happy.socketio.socket.Link`."""

    def __init__(
        self,
        engine: EngineConnection,
        handshake: Handshake,
        application: Application,
        clock: IReactorTime,
        settings: EndpointSettings,
    ) -> None:
        self._engine = engine
        self.send = engine.send
        self._handshake = handshake
        self._application = application
        self._clock = clock
        self._namespaces = Namespaces(application.namespaces)
        self._sockets: dict[str, Socket] = {}
        self._undecided: list[Socket] | None = None
        self._over = False
        self._half = self._refusals = 0
        self._unfinished: IDelayedCall | None = None
        self._impatience: IDelayedCall | None = clock.callLater(settings.connect_timeout, self._nobody_joined)

    # Link

    @property
    def transport(self) -> str:
        """See :class:`happy.socketio.socket.Link`."""
        return self._engine.transport

    @property
    def queued_bytes(self) -> int:
        """See :class:`happy.socketio.socket.Link`."""
        return self._engine.queued_bytes

    @property
    def holding(self) -> Holding:
        """See :class:`happy.socketio.socket.Link`."""
        return self._engine.holding

    def pay_as(self, owner: str) -> bool:
        """See :class:`happy.socketio.socket.Link`."""
        return self._engine.pay_as(owner)

    def leave(self, namespace: str) -> None:
        """See :class:`happy.socketio.socket.Link`."""
        self._namespaces.dismiss(namespace)
        socket = self._sockets.pop(namespace, None)
        if not self._sockets:
            self._engine.left()
        if socket is not None:
            socket.connected = False
            self._clock.callLater(0, self._end_socket, socket, SERVER_DISCONNECT)

    def close(self) -> None:
        """See :class:`happy.socketio.socket.Link`."""
        self._engine.close(FORCED_SERVER_CLOSE)

    # Handler

    def message(self, data: bytes, binary: bool) -> None:
        """See :class:`happy.socketio.engine.Handler`."""
        try:
            packet = self._namespaces.receive(data, binary)
        except InvalidPacket:
            # Not logged: whoever wants to could fill the disk with it.
            self._engine.shut(FORCED_CLOSE)
            return
        if binary or packet is None:
            self._count_half()
        if packet is not None:
            _HANDLERS[type(packet)](self, packet)

    def _count_half(self) -> None:
        """A packet whose attachments are still to come counts, and cannot take for ever."""
        former, self._half = self._half, self._namespaces.held
        if self._half and self._unfinished is None:
            self._unfinished = self._clock.callLater(ATTACHMENT_SECONDS, self._give_up_half)
        elif not self._half:
            self._forget_half()
        if self._half < former:
            self._engine.holding.give_back(former - self._half)
        elif not self._engine.holding.take(self._half - former):
            self._half = former
            self._engine.drop("crowd")

    def _forget_half(self) -> None:
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None:
            unfinished.cancel()

    def _give_up_half(self) -> None:
        self._unfinished = None
        self._engine.shut(FORCED_CLOSE)

    def ended(self, reason: str) -> None:
        """See :class:`happy.socketio.engine.Handler`."""
        self._over = True
        self._be_patient()
        if self._half:
            self._namespaces.forget()
            self._count_half()
        undecided, self._undecided = self._undecided or (), None
        for socket in undecided:
            socket.connected = False
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            self._end_socket(socket, reason)

    # Packets

    def _refuse_namespace(self, packet: UnknownNamespace) -> None:
        self._refuse(ConnectRefused(INVALID_NAMESPACE), packet.namespace)

    def _refuse(self, refusal: ConnectRefused, namespace: str) -> None:
        self._refusals += 1
        self._engine.send(encode_connect_error(refusal.message, namespace, refusal.data))
        if self._refusals >= MAX_REFUSALS:
            self._engine.close(FORCED_SERVER_CLOSE)

    def _connect(self, packet: Connect) -> None:
        socket = Socket(new_id(), packet.namespace, self._handshake, self)
        try:
            deciding = self._application.connect(socket, packet.auth)
        except Exception as refusal:
            self._reject(refusal, socket)
            return
        if deciding is None:
            self._admit(None, socket)
        else:
            self._undecided = [*(self._undecided or ()), socket]
            decided = Deferred.fromCoroutine(_wait_for(deciding))
            decided.addCallbacks(self._admit, self._fail, callbackArgs=(socket,), errbackArgs=(socket,))

    def _admit(self, _result: None, socket: Socket) -> None:
        if self._over:
            return
        self._be_patient()
        self._engine.joined()
        self._namespaces.admit(socket.namespace)
        self._sockets[socket.namespace] = socket
        for packet in socket.missed:
            self._engine.send(packet)
        socket.missed = ()
        self._engine.send(encode_connect(socket.id, socket.namespace, socket.pid))
        self._call("joining", self._application.joined, socket)

    def _fail(self, failure: Failure, socket: Socket) -> None:
        self._reject(failure.value, socket)

    def _reject(self, refusal: BaseException | None, socket: Socket) -> None:
        socket.connected = False
        self._namespaces.dismiss(socket.namespace)
        if isinstance(refusal, ConnectRefused):
            self._refuse(refusal, socket.namespace)
            return
        if isinstance(refusal, Exception) and not isinstance(refusal, Undecided):
            self._engine.handler_failed("a connect", refusal)
        self._engine.shut(FORCED_SERVER_CLOSE)

    def _disconnect(self, packet: Disconnect) -> None:
        self._end_socket(self._sockets.pop(packet.namespace), CLIENT_DISCONNECT)
        if not self._sockets:
            self._engine.left()

    def _event(self, packet: EventPacket) -> None:
        if packet.name is None:
            return
        socket = self._sockets[packet.namespace]
        acknowledge = None if packet.ack_id is None else _Acknowledge(socket, packet.ack_id)
        try:
            self._application.event(socket, packet.name, packet.arguments, acknowledge)
        except Exception as error:
            self._engine.handler_failed("an event", error)

    def _ack(self, packet: Ack) -> None:
        if packet.ack_id is not None and packet.arguments is not None:
            socket = self._sockets[packet.namespace]
            try:
                socket.answer(packet.ack_id, packet.arguments)
            except Exception as error:
                self._engine.handler_failed("an answer", error)

    def _end_socket(self, socket: Socket, reason: str) -> None:
        waiting = socket.gone()
        if waiting:
            self._engine.pace.each(self._engine.name, waiting, self._lose_answer)
        self._call("disconnecting", self._application.disconnected, socket, reason)
        socket.program = None

    def _lose_answer(self, answered: Answered) -> None:
        self._call("a lost answer", answered, None)

    def _nobody_joined(self) -> None:
        self._impatience = None
        self._engine.shut(FORCED_SERVER_CLOSE)

    def _be_patient(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _call(self, what: str, function: Callable[..., None], *arguments: Any) -> None:
        """Let the program act; its failure is its own, and never the connection's."""
        try:
            function(*arguments)
        except Exception as error:
            self._engine.handler_failed(what, error)


class _Acknowledge:
    """Answers one event, once."""

    __slots__ = ("_ack_id", "_socket")

    def __init__(self, socket: Socket, ack_id: int) -> None:
        self._socket: Socket | None = socket
        self._ack_id = ack_id

    def __call__(self, *arguments: Any) -> None:
        if self._socket is not None:
            packet = encode_ack(self._ack_id, arguments, self._socket.namespace)
            socket, self._socket = self._socket, None
            socket.send(packet)

    def begin(self) -> GatheredPacket:
        return begin_ack(self._ack_id, MAIN if self._socket is None else self._socket.namespace)

    def end(self, packet: GatheredPacket) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            packet.finish(b"]")
            socket.send(packet)


async def _wait_for(deciding: Any) -> None:
    await deciding


_HANDLERS: Final[dict[type[Any], Callable[[SocketConnection, Any], None]]] = {
    UnknownNamespace: SocketConnection._refuse_namespace,
    Connect: SocketConnection._connect,
    Disconnect: SocketConnection._disconnect,
    EventPacket: SocketConnection._event,
    Ack: SocketConnection._ack,
}
