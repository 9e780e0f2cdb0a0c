"""Socket.IO on one Engine.IO connection: joins namespaces, and carries events and answers to the program."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.realtime.socket import Application, ConnectRefused, Handshake, Socket, Undecided
from happy.wire.engineio import EncodedPacket, InvalidPacket
from happy.wire.incoming import Ack, Connect, Disconnect, Event
from happy.wire.outgoing import encode_ack, encode_connect, encode_connect_error
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

    from happy.realtime.engine import EngineConnection

INVALID_NAMESPACE: Final = "Invalid namespace"


def new_id() -> str:
    """Twenty URL-safe characters that nobody can guess."""
    return secrets.token_urlsafe(15)


class SocketConnection:
    """The handler of an Engine.IO connection, and the link of the sockets on it."""

    log = Logger()

    __slots__ = (
        "_ack_ids",
        "_application",
        "_clock",
        "_engine",
        "_handshake",
        "_impatience",
        "_namespaces",
        "_over",
        "_sockets",
    )

    def __init__(
        self,
        engine: EngineConnection,
        handshake: Handshake,
        application: Application,
        clock: IReactorTime,
        connect_timeout: float,
        ack_ids: Iterator[int],
    ) -> None:
        self._engine = engine
        self._handshake = handshake
        self._application = application
        self._clock = clock
        self._ack_ids = ack_ids
        self._namespaces = Namespaces(application.namespaces)
        self._sockets: dict[str, Socket] = {}
        self._over = False
        self._impatience: IDelayedCall | None = clock.callLater(connect_timeout, self._nobody_joined)

    # Link

    @property
    def transport(self) -> str:
        """See :class:`happy.realtime.socket.Link`."""
        return self._engine.transport

    @property
    def queued_bytes(self) -> int:
        """See :class:`happy.realtime.socket.Link`."""
        return self._engine.queued_bytes

    def send(self, packet: EncodedPacket) -> None:
        """See :class:`happy.realtime.socket.Link`."""
        self._engine.send(packet)

    def leave(self, namespace: str) -> None:
        """See :class:`happy.realtime.socket.Link`."""
        self._namespaces.dismiss(namespace)
        socket = self._sockets.pop(namespace, None)
        if socket is not None:
            socket.connected = False
            self._clock.callLater(0, self._end_socket, socket, SERVER_DISCONNECT)

    def close(self) -> None:
        """See :class:`happy.realtime.socket.Link`."""
        self._engine.close(FORCED_SERVER_CLOSE)

    # Handler

    def message(self, data: bytes, binary: bool) -> None:
        """See :class:`happy.realtime.engine.Handler`."""
        try:
            packet = self._namespaces.receive(data, binary)
        except InvalidPacket:
            # Not logged: whoever wants to could fill the disk with it.
            self._engine.shut(FORCED_CLOSE)
            return
        if packet is not None:
            _HANDLERS[type(packet)](self, packet)

    def ended(self, reason: str) -> None:
        """See :class:`happy.realtime.engine.Handler`."""
        self._over = True
        self._be_patient()
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            self._end_socket(socket, reason)

    # Packets

    def _refuse_namespace(self, packet: UnknownNamespace) -> None:
        self._engine.send(encode_connect_error(INVALID_NAMESPACE, packet.namespace))

    def _connect(self, packet: Connect) -> None:
        socket = Socket(new_id(), packet.namespace, self._handshake, self, self._ack_ids)
        try:
            deciding = self._application.connect(socket, packet.auth)
        except Exception as refusal:
            self._reject(refusal, socket)
            return
        if deciding is None:
            self._admit(None, socket)
        else:
            decided = Deferred.fromCoroutine(_wait_for(deciding))
            decided.addCallbacks(self._admit, self._fail, callbackArgs=(socket,), errbackArgs=(socket,))

    def _admit(self, _result: None, socket: Socket) -> None:
        if self._over:
            return
        self._be_patient()
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
            self._engine.send(encode_connect_error(refusal.message, socket.namespace))
            return
        if not isinstance(refusal, Undecided):
            self.log.error("Connecting a client failed: {error}", error=type(refusal).__name__)
        self._engine.shut(FORCED_SERVER_CLOSE)

    def _disconnect(self, packet: Disconnect) -> None:
        self._end_socket(self._sockets.pop(packet.namespace), CLIENT_DISCONNECT)

    def _event(self, packet: Event) -> None:
        if packet.name is None:
            return
        socket = self._sockets[packet.namespace]
        acknowledge = None if packet.ack_id is None else _Acknowledge(socket, packet.ack_id)
        self._call("an event", self._application.event, socket, packet.name, packet.arguments, acknowledge)

    def _ack(self, packet: Ack) -> None:
        if packet.ack_id is not None and packet.arguments is not None:
            socket = self._sockets[packet.namespace]
            self._call("an answer", socket.answer, packet.ack_id, packet.arguments)

    def _end_socket(self, socket: Socket, reason: str) -> None:
        for answered in socket.gone():
            self._call("a lost answer", answered, None)
        self._call("disconnecting", self._application.disconnected, socket, reason)

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
        except Exception as failure:
            self.log.error("The handler of {what} failed: {error}", what=what, error=type(failure).__name__)


class _Acknowledge:
    """Answers one event, once."""

    __slots__ = ("_ack_id", "_socket")

    def __init__(self, socket: Socket, ack_id: int) -> None:
        self._socket: Socket | None = socket
        self._ack_id = ack_id

    def __call__(self, *arguments: Any) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.send(encode_ack(self._ack_id, arguments, socket.namespace))


async def _wait_for(deciding: Any) -> None:
    await deciding


_HANDLERS: Final[dict[type[Any], Callable[[SocketConnection, Any], None]]] = {
    UnknownNamespace: SocketConnection._refuse_namespace,
    Connect: SocketConnection._connect,
    Disconnect: SocketConnection._disconnect,
    Event: SocketConnection._event,
    Ack: SocketConnection._ack,
}
