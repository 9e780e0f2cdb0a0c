"""Socket.IO packets as a client reads them; it writes with :mod:`happy.wire.outgoing` (realtime.md A.11)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

_PACKET = re.compile(rb"([0-4])(?:/[^,]*(?:,|$))?(\d*)(.*)", re.DOTALL)


class Kind(Enum):
    """What a packet of the server is."""

    CONNECT = b"0"
    DISCONNECT = b"1"
    EVENT = b"2"
    ACK = b"3"
    CONNECT_ERROR = b"4"


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of the main namespace; ``payload`` is its JSON value, None without one."""

    kind: Kind
    ack_id: int | None
    payload: Any


def decode_packet(text: bytes) -> Packet:
    """The packet inside an Engine.IO message. Raises ValueError; binary packets are not understood."""
    match = _PACKET.fullmatch(text)
    if match is None:
        raise ValueError("not a Socket.IO packet")
    kind, ack_id, payload = match.groups()
    return Packet(
        Kind(kind), int(ack_id) if ack_id else None, msgspec.json.decode(payload) if payload else None
    )
