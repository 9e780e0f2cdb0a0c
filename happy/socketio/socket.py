"""What a program on top of the realtime layer sees: sockets, and the interface that it implements.

A *socket* is one client joined to one namespace. It outlives the transport it started on (a polling client
may upgrade to WebSocket), and dies with the transport connection. Formats: realtime.md A.11 to A.13.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Raw

from happy.wire.incoming import Arguments
from happy.wire.outgoing import (
    MAIN,
    Attachment,
    EncodedPacket,
    GatheredPacket,
    begin_event,
    encode_disconnect,
    encode_event,
)

if TYPE_CHECKING:
    from happy.base.bounds import Holding

__all__ = (
    "MAIN",
    "Acknowledge",
    "Answered",
    "Application",
    "Arguments",
    "Attachment",
    "ConnectRefused",
    "EncodedPacket",
    "GatheredPacket",
    "Handshake",
    "Link",
    "Socket",
    "Undecided",
    "begin_event",
    "encode_event",
)

_CALL_BITS: Final = 31


class Acknowledge(Protocol):
    """Answers one event of a client, once; later answers, and those after the socket is gone, do nothing."""

    def __call__(self, *arguments: Any) -> None:
        """Answer with any number of arguments, as :func:`encode_event` takes them."""

    def begin(self) -> GatheredPacket:
        """An answer to which the JSON of the arguments is added part by part, with commas between them."""

    def end(self, packet: GatheredPacket) -> None:
        """Send the answer that was begun."""


Answered = Callable[[Sequence[Raw] | None], None]
"""Hears the client's answer to :meth:`Socket.call`, or None when the socket went away first."""


class ConnectRefused(Exception):
    """Raised by :meth:`Application.connect`: the client hears CONNECT_ERROR with ``message`` and, unless it
    is None, ``data``: any value that :func:`encode_event` takes, attachments apart.

    The transport stays open, and the client may try again on it. Stock clients do not retry by themselves.
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class Undecided(Exception):
    """Raised by :meth:`Application.connect`: nobody can say now whether this client may join.

    The transport is closed without a reply, after which every client tries again.
    """


@dataclass(frozen=True, slots=True)
class Handshake:
    """The HTTP request that opened the connection.

    ``headers`` has lower-case names and only those that the endpoint's settings keep, repeated ones joined
    by ``", "``; ``query`` holds the last value of each parameter; ``address`` is the host that the connection
    came from (a proxy's, behind one), empty where there is none or the settings do not keep it.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    @property
    def size(self) -> int:
        """Characters of it."""
        if not (self.headers or self.query):
            return 0
        return sum(len(name) + len(value) for name, value in (*self.headers.items(), *self.query.items()))


class Link(Protocol):
    """A socket's way to its client: the transport connection under it, shared by its namespaces."""

    @property
    def transport(self) -> str:
        """``"websocket"`` or ``"polling"``, whichever carries packets now."""

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted for the client that the operating system has not taken yet."""

    @property
    def holding(self) -> Holding:
        """What is kept for the client counts here."""

    def pay_as(self, owner: str) -> bool:
        """Let another owner pay for what is kept for the client; see :meth:`Socket.pay_as`."""

    def send(self, packet: EncodedPacket) -> None:
        """Pass a packet on, in order. Never blocks; does nothing once the connection is closing."""

    def leave(self, namespace: str) -> None:
        """Forget the socket of a namespace; the connection stays open."""

    def close(self) -> None:
        """End the transport connection, and so every socket on it, after what is queued was sent."""


class Socket:
    """One client in one namespace.

    ``id`` is its public Socket.IO id, ``program`` a place for whatever the application wants to find here.

    Its calls are numbered from where nobody can guess: a client that connects again may still acknowledge,
    on its new socket, what was asked on the old one (realtime.md D-18). ``next_call`` is the next number,
    None before the first.

    While it decides about a connect, without waiting any more, an application that offers connection state
    recovery (realtime.md A.14) sets ``pid``, and where it continues a former socket also ``id``, and
    ``missed``: what the client is to hear before it is admitted.
    """

    __slots__ = (
        "_calls",
        "_link",
        "connected",
        "handshake",
        "id",
        "missed",
        "namespace",
        "next_call",
        "pid",
        "program",
    )

    def __init__(self, id: str, namespace: str, handshake: Handshake, link: Link) -> None:
        self.id = id
        self.namespace = namespace
        self.handshake = handshake
        self.pid: str | None = None
        self.missed: Sequence[EncodedPacket] = ()
        self.program: Any = None
        self.connected = True
        """False from just before :meth:`Application.disconnected`; sending does nothing then."""
        self._link = link
        self._calls: dict[int, Answered] | None = None
        self.next_call: int | None = None

    @property
    def transport(self) -> str:
        """``"websocket"`` or ``"polling"``, whichever carries packets now."""
        return self._link.transport

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted for this client's connection that the operating system has not taken yet."""
        return self._link.queued_bytes

    @property
    def holding(self) -> Holding:
        """Where whatever the program keeps for this client counts; where there is no room, it closes it."""
        return self._link.holding

    def pay_as(self, owner: str) -> bool:
        """Let ``owner`` pay from now on for what is kept for this client, in place of the address it has.

        False if that would be more than the owner may have: then the client cannot join.
        """
        return self._link.pay_as(owner)

    def emit(self, name: str, *arguments: Any) -> None:
        """Send an event; arguments as :func:`encode_event` takes them."""
        self.send(encode_event(name, *arguments, namespace=self.namespace))

    def send(self, packet: EncodedPacket) -> None:
        """Send a packet that was encoded for this socket's namespace; the cheap way to many sockets."""
        if self.connected:
            self._link.send(packet)

    def call(self, name: str, *arguments: Any, answered: Answered) -> int:
        """Send an event that the client is to acknowledge; arguments as :func:`encode_event` takes them.

        ``answered`` is called exactly once unless :meth:`forget_call` comes first; there is no timeout. On a
        socket that is gone it is called with None at once.

        :return: the ack id.
        """
        ack_id = secrets.randbits(_CALL_BITS) if self.next_call is None else self.next_call
        self.next_call = ack_id + 1
        if not self.connected:
            answered(None)
            return ack_id
        if self._calls is None:
            self._calls = {}
        self._calls[ack_id] = answered
        self._link.send(encode_event(name, *arguments, namespace=self.namespace, ack_id=ack_id))
        return ack_id

    def awaiting(self) -> list[Answered]:
        """What waits for answers of the client."""
        return list((self._calls or {}).values())

    def forget_call(self, ack_id: int) -> None:
        """An answer to this call no longer matters. Unknown ids are ignored."""
        if self._calls is not None:
            self._calls.pop(ack_id, None)

    def take_calls(self, former: Socket) -> None:
        """Wait for the answers that another socket of the same client waits for; they bear its ids."""
        self._calls, former._calls = former._calls, None
        self.next_call = former.next_call

    def disconnect(self) -> None:
        """Send DISCONNECT and leave the namespace. Stock clients do not reconnect after it.

        The application hears ``server namespace disconnect``; the transport stays open.
        """
        if self.connected:
            self._link.send(encode_disconnect(self.namespace))
            self._link.leave(self.namespace)

    def close(self) -> None:
        """Close the transport without DISCONNECT, after what is queued was sent; clients reconnect."""
        self._link.close()

    def abandon(self) -> None:
        """Close the transport of a client that is elsewhere by now. The application hears no more of it."""
        self.program = None
        self._link.leave(self.namespace)
        self._link.close()

    def answer(self, ack_id: int, arguments: Sequence[Raw]) -> None:
        """Hand the client's acknowledgement to its caller. Stray ids are ignored. For the driver only."""
        answered = None if self._calls is None else self._calls.pop(ack_id, None)
        if answered is not None:
            answered(arguments)

    def gone(self) -> list[Answered]:
        """Nothing reaches the client from now on.

        Returns what waits for answers and is to be told None. For the driver only.
        """
        self.connected = False
        waiting, self._calls = self.awaiting(), None
        return waiting


class Application(Protocol):
    """A program served over realtime connections.

    For each socket: ``connect``, then either nothing more (refused, or lost while deciding), or ``joined``,
    any number of ``event``, and ``disconnected`` exactly once, never from inside a method of a socket. An
    exception from any of them is told to the settings' ``handler_failed`` and never harms the connection,
    except that ``connect`` failing counts as :class:`Undecided`.
    """

    @property
    def namespaces(self) -> Collection[str]:
        """The namespaces that clients may join; others are refused as ``Invalid namespace``."""
        return (MAIN,)

    def connect(self, socket: Socket, auth: Raw | None) -> Awaitable[None] | None:
        """Decide whether the client may join; ``auth`` is the JSON object it presented, None if absent.

        May answer at once or be a coroutine function. Nothing can be sent on the socket yet. When it is not
        ``connected`` any more it was lost while this decided, and nothing more will be heard of it.

        :raises ConnectRefused: no; see there.
        :raises Undecided: not now; see there.
        """

    def joined(self, socket: Socket) -> None:
        """The client's CONNECT reply was written; what is sent from here on follows it."""

    def event(self, socket: Socket, name: str, arguments: Sequence[Raw], ack: Acknowledge | None) -> None:
        """The client sent an event.

        :param arguments: the JSON of each argument. Binary data stands in it as placeholder objects, whose
            bytes are in ``arguments.attachments`` (:class:`Arguments`).
        :param ack: present when the client wants an answer.
        """

    def disconnected(self, socket: Socket, reason: str) -> None:
        """The socket is gone, for one of the reasons of realtime.md A.10."""
