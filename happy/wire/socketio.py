"""The namespaces of one transport connection: who asked to join, who is in, what they may send.

A machine without I/O. The driver feeds it decoded messages and its own decisions, and acts on what comes
back. Rules: realtime.md A.12 and A.13, D-18.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from happy.wire.engineio import InvalidPacket
from happy.wire.incoming import (
    Ack,
    ClientPacket,
    Connect,
    Decoder,
    Disconnect,
    EventPacket,
)

FORCED_CLOSE: Final = "forced close"
FORCED_SERVER_CLOSE: Final = "forced server close"
CLIENT_DISCONNECT: Final = "client namespace disconnect"
SERVER_DISCONNECT: Final = "server namespace disconnect"
SHUTTING_DOWN: Final = "server shutting down"


class Membership(Enum):
    """How a client stands to one namespace."""

    OUT = auto()
    ASKED = auto()
    IN = auto()


_IN: Final = Membership.IN


class PacketFate(Enum):
    """What becomes of a packet."""

    PASS = auto()
    DROP = auto()
    """Ignored: an acknowledgement that came before its namespace was joined again (D-18)."""

    CLOSE = auto()
    """A violation: the transport connection is closed."""


TABLE: Final = {
    (Membership.OUT, Connect): PacketFate.PASS,
    (Membership.OUT, Disconnect): PacketFate.CLOSE,
    (Membership.OUT, EventPacket): PacketFate.CLOSE,
    (Membership.OUT, Ack): PacketFate.DROP,
    (Membership.ASKED, Connect): PacketFate.CLOSE,
    (Membership.ASKED, Disconnect): PacketFate.CLOSE,
    (Membership.ASKED, EventPacket): PacketFate.CLOSE,
    (Membership.ASKED, Ack): PacketFate.DROP,
    (Membership.IN, Connect): PacketFate.CLOSE,
    (Membership.IN, Disconnect): PacketFate.PASS,
    (Membership.IN, EventPacket): PacketFate.PASS,
    (Membership.IN, Ack): PacketFate.PASS,
}


@dataclass(frozen=True, slots=True)
class UnknownNamespace:
    """A client asks for a namespace that does not exist; it is to be told ``Invalid namespace``."""

    namespace: str


class Namespaces:
    """The machine of one transport connection."""

    __slots__ = ("_decoder", "_known", "_members")

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        self._decoder = Decoder()
        self._members: dict[str, Membership] = {}

    @property
    def held(self) -> int:
        """Bytes that are there of a packet whose attachments are still to come."""
        return self._decoder.held

    def forget(self) -> None:
        """Nothing more is to come of it."""
        self._decoder = Decoder()

    def receive(self, data: bytes, binary: bool) -> ClientPacket | UnknownNamespace | None:
        """What a message amounts to; None if to nothing (yet).

        A :class:`Connect` is to be followed by :meth:`admit` or :meth:`dismiss`.

        :raises InvalidPacket: the connection is to be closed.
        """
        packet = self._decoder.binary(data) if binary else self._decoder.text(data)
        if packet is None:
            self._check_right_to_attach()
            return None
        membership = self._members.get(packet.namespace, Membership.OUT)
        kind = type(packet)
        if membership is _IN and (kind is EventPacket or kind is Ack):
            return packet  # As the table says, for nearly every packet.
        outcome = TABLE[membership, kind]
        if outcome is PacketFate.CLOSE:
            raise InvalidPacket("packet out of place")
        if outcome is PacketFate.DROP:
            return None
        return self._pass(packet)

    def admit(self, namespace: str) -> None:
        """The client that asked for a namespace is in."""
        self._members[namespace] = Membership.IN

    def dismiss(self, namespace: str) -> None:
        """The client is out of a namespace: refused, or disconnected by the server."""
        self._members.pop(namespace, None)

    def _check_right_to_attach(self) -> None:
        """Nothing is kept for those who have not joined. Raises InvalidPacket."""
        pending = self._decoder.pending
        if pending is not None and self._members.get(pending.namespace) is not Membership.IN:
            raise InvalidPacket("attachments outside of a namespace")

    def _pass(self, packet: ClientPacket) -> ClientPacket | UnknownNamespace:
        if isinstance(packet, Connect):
            if packet.namespace not in self._known:
                return UnknownNamespace(packet.namespace)
            self._members[packet.namespace] = Membership.ASKED
        elif isinstance(packet, Disconnect):
            self.dismiss(packet.namespace)
        return packet
