"""Engine.IO protocol 4: packets, polling payloads, and what may be asked of an endpoint.

Text is UTF-8 in ``bytes`` throughout, as it arrives and leaves. Formats: realtime.md A.2 to A.4, A.9.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from io import BytesIO
from typing import Final

import msgspec

from happy.wire.frames import BINARY, LONG, LONGEST_HEAD, TEXT, encode_frame, longest_head

POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"
SEPARATOR: Final = b"\x1e"
"""Stands between the packets of a polling payload; JSON never contains it raw."""

_BASE64: Final = ord("b")
_CONTROL: Final = re.compile(rb"[\0-\x08\n-\x1f\x7f]")
"""What RFC 9110 keeps out of the values of headers: controls other than tab."""


class PacketType(IntEnum):
    """The first character of a packet, as its ASCII code."""

    OPEN = ord("0")
    CLOSE = ord("1")
    PING = ord("2")
    PONG = ord("3")
    MESSAGE = ord("4")
    UPGRADE = ord("5")
    NOOP = ord("6")


class InvalidPacket(ValueError):
    """The peer sent what is no packet. The text says what was wrong, without repeating it."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet from a client. ``binary`` tells a message of bytes from one of text."""

    type: PacketType
    data: bytes = b""
    binary: bool = False


PACKET_BYTES: Final = 256
"""What a packet that waits costs beside its text."""


class EncodedPacket:
    """Something for a client, encoded once for every transport and any number of clients.

    ``text`` is an Engine.IO packet (empty if there is only binary), ``attachments`` are binary messages
    that follow it, ``frames`` all of them as WebSocket frames, one after the other. Never changed after
    construction.
    """

    __slots__ = ("attachments", "frames", "text")

    def __init__(self, text: bytes, attachments: Sequence[bytes] = ()) -> None:
        self.text = text
        self.frames = encode_frame(TEXT, text) if text else b""
        self.attachments: Sequence[bytes] = ()
        if attachments:
            self.attachments = tuple(attachments)
            self.frames += b"".join([encode_frame(BINARY, data) for data in attachments])

    def __repr__(self) -> str:
        return f"<EncodedPacket of {len(self.frames)} bytes>"


class GatheredPacket(EncodedPacket):
    """A packet of text that comes part by part. Of a large one there is one copy, for every transport.

    It is as any other when :meth:`finish` was called, and nothing before.
    """

    __slots__ = ("_gathered",)

    def __init__(self, begin: bytes) -> None:
        super().__init__(b"")
        self._gathered = BytesIO()  # grows where it is, and hands out what it has without another copy
        self._gathered.write(bytes(LONGEST_HEAD) + begin)

    def add(self, part: bytes) -> None:
        """What comes next of its text."""
        self._gathered.write(part)

    def finish(self, end: bytes) -> None:
        """The end of its text."""
        self.add(end)
        length = self._gathered.tell() - LONGEST_HEAD
        if length < LONG:
            super().__init__(self._gathered.getvalue()[LONGEST_HEAD:])
            return
        self._gathered.seek(0)
        self._gathered.write(longest_head(TEXT, length))
        self.frames = self._gathered.getvalue()
        self.text = memoryview(self.frames)[LONGEST_HEAD:]  # type: ignore[assignment]  # as good as bytes


CLOSE: Final = EncodedPacket(b"1")
PING: Final = EncodedPacket(b"2")
PROBE_ANSWER: Final = EncodedPacket(b"3probe")
NOOP: Final = EncodedPacket(b"6")


def encode_message(data: bytes, *, binary: bool = False) -> EncodedPacket:
    """A message without Socket.IO on top; ``data`` of a text message must be UTF-8."""
    return EncodedPacket(b"", (data,)) if binary else EncodedPacket(b"4" + data)


class _Open(msgspec.Struct, frozen=True, rename="camel"):
    sid: str
    upgrades: Sequence[str]
    ping_interval: int
    ping_timeout: int
    max_payload: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits and intervals of sessions, in seconds and bytes (realtime.md A.1)."""

    ping_interval: float = 15.0
    ping_timeout: float = 45.0
    upgrade_timeout: float = 10.0
    max_payload: int = 1_000_000
    """Largest message or polling body accepted from a client."""

    max_packets: int = 10_000
    """Packets of a polling body. Clients send at once whatever they have gathered while a request was under
    way, each packet of which is an event of a program: some dozens."""

    noop_interval: float = 0.1
    """How often a poll is released during an upgrade (A.7)."""

    linger: float = 0.1
    """How long a poll may follow its client's own close packet and still end well (A.15)."""

    drain: float = 30.0
    """How long a close is remembered for a polling client that has no poll open (A.10)."""


def encode_open(sid: str, upgrades: Sequence[str], settings: EngineSettings) -> EncodedPacket:
    """The first packet of a session."""
    fields = _Open(
        sid,
        upgrades,
        round(settings.ping_interval * 1000),
        round(settings.ping_timeout * 1000),
        settings.max_payload,
    )
    return EncodedPacket(b"0" + msgspec.json.encode(fields))


def decode_packet(text: bytes) -> Packet:
    """One packet of text.

    :raises InvalidPacket: it is empty, of no known type, or not base64 where it claims to be.
    """
    if not text:
        raise InvalidPacket("empty packet")
    if text[0] == _BASE64:
        return Packet(PacketType.MESSAGE, _decode_base64(text[1:]), binary=True)
    try:
        return Packet(PacketType(text[0]), text[1:])
    except ValueError:
        raise InvalidPacket("unknown packet type") from None


def _decode_base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text + b"==")
    except binascii.Error:
        raise InvalidPacket("malformed base64") from None


def encode_payload(packets: Iterable[EncodedPacket]) -> bytes:
    """The body that carries packets to a polling client."""
    texts = list(_texts(packets))
    return texts[0] if len(texts) == 1 else SEPARATOR.join(texts)


def _texts(packets: Iterable[EncodedPacket]) -> Iterator[bytes]:
    for packet in packets:
        if packet.text:
            yield packet.text
        for attachment in packet.attachments:
            yield b"b" + base64.b64encode(attachment)


def split_payload(body: bytes) -> list[bytes]:
    """The packets of a polling body, not yet decoded; what is not UTF-8 in it counts as U+FFFD."""
    try:
        body.decode()
    except UnicodeDecodeError:
        body = body.decode("utf-8", "replace").encode()
    return body.split(SEPARATOR)


class EngineProblem(Enum):
    """Why a request is refused: its code, message and HTTP status (realtime.md A.9)."""

    TRANSPORT_UNKNOWN = (0, "Transport unknown", 400)
    UNKNOWN_SID = (1, "Session ID unknown", 400)
    BAD_HANDSHAKE_METHOD = (2, "Bad handshake method", 400)
    BAD_REQUEST = (3, "Bad request", 400)
    FORBIDDEN = (4, "Forbidden", 403)
    UNSUPPORTED_PROTOCOL_VERSION = (5, "Unsupported protocol version", 400)

    def __init__(self, code: int, message: str, status: int) -> None:
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> bytes:
        """The JSON that a polling client gets."""
        return msgspec.json.encode({"code": self.code, "message": self.message})


class Refused(Exception):
    """A request to the endpoint that cannot be served."""

    def __init__(self, problem: EngineProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def check_request(
    method: str, query: Mapping[str, str], *, upgrade: bool, origin: bytes, sessions: Collection[str]
) -> str | None:
    """Which session a request is for; None if it asks for a new one.

    Whether the session is on that transport is left to the session itself. ``upgrade`` marks a WebSocket
    upgrade request; ``origin`` is the raw Origin header.

    :raises Refused: the first of the checks, in the contract's order, that fails.
    """
    transport = query.get("transport")
    if transport not in (POLLING, WEBSOCKET):
        raise Refused(EngineProblem.TRANSPORT_UNKNOWN)
    if _CONTROL.search(origin):
        raise Refused(EngineProblem.BAD_REQUEST)
    if sid := query.get("sid"):
        return _check_session(sid, sessions, upgrade=upgrade, transport=transport)
    if method != "GET":
        raise Refused(EngineProblem.BAD_HANDSHAKE_METHOD)
    if transport == WEBSOCKET and not upgrade:
        raise Refused(EngineProblem.BAD_REQUEST)
    if query.get("EIO") != "4":
        raise Refused(EngineProblem.UNSUPPORTED_PROTOCOL_VERSION)
    return None


def _check_session(sid: str, sessions: Collection[str], *, upgrade: bool, transport: str) -> str:
    if sid not in sessions:
        raise Refused(EngineProblem.UNKNOWN_SID)
    if transport == WEBSOCKET and not upgrade:
        raise Refused(EngineProblem.BAD_REQUEST)
    return sid
