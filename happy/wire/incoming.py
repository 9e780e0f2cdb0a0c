r"""Socket.IO packets from a client: decoding, and reassembly of binary ones.

Arguments stay raw JSON, split but not interpreted; what is too complex is no packet, and is found out before
any of it is built. Grammar and outcomes: realtime.md A.11 and A.13.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from happy.wire.complexity import TooComplex, check_complexity, check_depth
from happy.wire.engineio import InvalidPacket
from happy.wire.jsontext import Attachment, decode_json, split_array, split_object
from happy.wire.outgoing import MAIN

MAX_ATTACHMENTS: Final = 10
LONGEST_NAME: Final = 1024
"""Characters of an event's name, bytes of a namespace's; real ones have a few."""

RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that only the library itself may raise."""

_HEAD: Final = re.compile(rb"(?:([0-4])|([56])(\d{1,9})-)(?:(/[^,]*),?)?(\d*)", re.DOTALL)

_EVENT: Final = ord("2")
_ACK: Final = ord("3")
_LONGEST_HEAD: Final = 12
_LARGE: Final = 4096
_NAMED: Final = msgspec.json.Decoder(tuple[str, Raw])
_LIST: Final = msgspec.json.Decoder(list[Raw])


class Arguments(tuple[Raw, ...]):
    """The JSON of each argument, and the binary attachments that placeholders in it refer to."""

    attachments: tuple[bytes, ...] = ()

    def values(self) -> list[Any]:
        """The arguments as Python values, with an :class:`Attachment` for each placeholder."""
        return [_restore(decode_json(raw), self.attachments) for raw in self]


class Connect(Struct, frozen=True):
    """A client asks to join; ``auth`` is a JSON object."""

    namespace: str
    auth: Raw | None


class Disconnect(Struct, frozen=True):
    namespace: str


class EventPacket(Struct, frozen=True):
    """``name`` is None for an event that nobody can listen to: numbered, or without payload."""

    namespace: str
    name: str | None
    arguments: Arguments
    ack_id: int | None


class Ack(Struct, frozen=True):
    """``ack_id`` is None if the client left it out, ``arguments`` if it left them out."""

    namespace: str
    ack_id: int | None
    arguments: Arguments | None


ClientPacket = Connect | Disconnect | EventPacket | Ack


class Decoder:
    """Turns the messages of one connection into packets.

    ``pending`` is the packet whose attachments are still to come, ``held`` the bytes that are there of it.
    """

    __slots__ = ("_attachments", "_expected", "held", "pending")

    def __init__(self) -> None:
        self.pending: EventPacket | Ack | None = None
        self.held = 0
        self._expected = 0
        self._attachments: list[bytes] = []

    def text(self, data: bytes) -> ClientPacket | None:
        """The packet, or None while its attachments are still to come.

        :raises InvalidPacket: it is none, or comes in place of an attachment.
        """
        if self.pending is not None:
            raise InvalidPacket("text in place of an attachment")
        kind = data[:1]
        usual = _usual(data) if kind == b"2" else None
        # The one argument of a usual event stays as it is: how many values it has is for whoever decodes
        # it to judge, and to answer. How deep it nests is not, since some pass it on.
        try:
            check_complexity(data) if usual is None else check_depth(data)
        except TooComplex as excess:
            raise InvalidPacket(str(excess)) from None
        if kind == b"3":
            usual = _usual(data)
        if usual is not None:
            return usual
        packet, expected = _decode(data)
        if not expected or not isinstance(packet, (EventPacket, Ack)):
            return packet
        self.pending, self.held, self._expected = packet, len(data), expected
        return None

    def binary(self, data: bytes) -> ClientPacket | None:
        """The packet that this attachment completes, or None while more are to come.

        :raises InvalidPacket: no attachment is due, or the packet refers to one that it did not announce.
        """
        if self.pending is None:
            raise InvalidPacket("unexpected attachment")
        self._attachments.append(data)
        self.held += len(data)
        if len(self._attachments) < self._expected:
            return None
        packet, attachments = self.pending, self._attachments
        self.pending, self.held, self._attachments = None, 0, []
        return _attach(packet, tuple(attachments))


def _usual(data: bytes) -> EventPacket | Ack | None:
    """An event with one argument, or an acknowledgement, in the main namespace and without attachments.

    None for whatever else it is, and for what is wrong.
    """
    start = data.find(b"[", 1, _LONGEST_HEAD)
    number = None
    if start != 1:
        digits = data[1:start]
        if start < 0 or not digits.isdigit():
            return None
        number = int(digits)
    try:
        if data[0] == _EVENT:
            name, argument = _NAMED.decode(data[start:])
            if name in RESERVED or len(name) > LONGEST_NAME:
                return None
            arguments = Arguments((argument,)) if len(data) <= _LARGE else _arguments((argument,), data)
            return EventPacket(MAIN, name, arguments, number)
        return Ack(MAIN, number, _arguments(_LIST.decode(data[start:]), data)) if data[0] == _ACK else None
    except (ValueError, RecursionError):
        return None


def _arguments(items: Sequence[Raw], text: bytes) -> Arguments:
    """The arguments that a packet holds: slices of its text, unless that has little else to keep it for."""
    if len(text) > _LARGE and 2 * sum(map(len, items)) < len(text):
        items = [item.copy() for item in items]
    return Arguments(items)


def _decode(data: bytes) -> tuple[ClientPacket, int]:
    head = _HEAD.match(data)
    if head is None:
        raise InvalidPacket("malformed packet")
    plain, binary, count, named, number = head.groups()
    expected = int(count) if binary else 0
    if expected > MAX_ATTACHMENTS:
        raise InvalidPacket("too many attachments")
    if named and len(named) > LONGEST_NAME:
        raise InvalidPacket("namespace too long")
    kind = plain or binary
    namespace = named.decode("utf-8", "replace") if named else MAIN
    return _build(kind, namespace, _number(number), data[head.end() :]), expected


def _number(digits: bytes) -> int | None:
    try:
        return int(digits) if digits else None
    except ValueError:
        raise InvalidPacket("acknowledgement id out of range") from None


def _build(kind: bytes, namespace: str, ack_id: int | None, payload: bytes) -> ClientPacket:
    if kind in (b"2", b"5"):
        return _event(namespace, ack_id, payload)
    if kind in (b"3", b"6"):
        return Ack(namespace, ack_id, _arguments(split_array(payload), payload) if payload else None)
    if kind == b"0":
        return Connect(namespace, split_object(payload) if payload else None)
    if kind == b"1" and not payload:
        return Disconnect(namespace)
    raise InvalidPacket("not a client's packet")


def _event(namespace: str, ack_id: int | None, payload: bytes) -> EventPacket:
    if not payload:
        return EventPacket(namespace, None, Arguments(), ack_id)
    items = split_array(payload)
    if not items:
        raise InvalidPacket("event without a name")
    name = decode_json(items[0])
    if isinstance(name, str):
        if name in RESERVED:
            raise InvalidPacket("reserved event name")
        if len(name) > LONGEST_NAME:
            raise InvalidPacket("event name too long")
        return EventPacket(namespace, name, _arguments(items[1:], payload), ack_id)
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        return EventPacket(namespace, None, Arguments(), ack_id)
    raise InvalidPacket("event name of a wrong type")


def _attach(packet: EventPacket | Ack, attachments: tuple[bytes, ...]) -> EventPacket | Ack:
    if packet.arguments is not None:
        packet.arguments.attachments = attachments
        packet.arguments.values()
    return packet


def _restore(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return [_restore(item, attachments) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is not True:
        return {key: _restore(item, attachments) for key, item in value.items()}
    number = value.get("num")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(attachments):
        return Attachment(attachments[number])
    raise InvalidPacket("placeholder without attachment")
