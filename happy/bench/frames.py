"""A client's side of WebSocket framing (RFC 6455 section 5.2), as cheap as plain Python allows."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FINAL: Final = 0x80
FINAL_TEXT: Final = FINAL | TEXT
_MASKED: Final = 0x80
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def mask(payload: bytes, key: bytes, offset: int = 0) -> bytes:
    """``payload`` masked with the four bytes of ``key``; its own inverse.

    ``offset`` is the position of ``payload`` in the message that it is a part of.
    """
    size = len(payload)
    turned = key[offset % 4 :] + key[: offset % 4]
    pattern = (turned * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


def header(opcode: int, size: int, key: bytes) -> bytes:
    """The head of a final, masked frame with a payload of ``size`` bytes."""
    first = FINAL | opcode
    if size < 126:
        return bytes((first, _MASKED | size)) + key
    if size < 65536:
        return bytes((first, _MASKED | 126, size >> 8, size & 0xFF)) + key
    return bytes((first, _MASKED | 127)) + size.to_bytes(8, "big") + key


def encode(opcode: int, payload: bytes, key: bytes) -> bytes:
    """A whole message as one masked frame."""
    return header(opcode, len(payload), key) + mask(payload, key)


class Template:
    """Text messages that differ only in one part of constant length, masked in advance but for that part.

    ``width`` is the length of the part in bytes.
    """

    __slots__ = ("_head", "_pattern", "_tail", "_width")

    def __init__(self, before: bytes, width: int, after: bytes, key: bytes) -> None:
        middle = len(before)
        self._width = width
        self._head = header(TEXT, middle + width + len(after), key) + mask(before, key)
        self._pattern = int.from_bytes(mask(bytes(width), key, middle), "little")
        self._tail = mask(after, key, middle + width)

    def fill(self, part: bytes) -> bytes:
        """The frame of the message with ``part`` in it; its length must be the agreed one."""
        masked = (int.from_bytes(part, "little") ^ self._pattern).to_bytes(self._width, "little")
        return self._head + masked + self._tail


class Unreadable(Exception):
    """A server broke the framing rules."""


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames at the front of ``data``, and the bytes after them.

    A frame is its first byte (final bit and opcode) and its payload. Raises Unreadable for a masked frame
    and for reserved bits, which no server may send to this client.
    """
    frames = []
    position, end = 0, len(data)
    while end - position >= 2:
        first, size = data[position], data[position + 1]
        start = position + 2
        if size > 125:
            if size & _MASKED:
                raise Unreadable("the server masked a frame")
            start += 2 if size == 126 else 8
            if start > end:
                break
            size = int.from_bytes(data[position + 2 : start], "big")
        if first & 0x70:
            raise Unreadable("the server set reserved bits in a frame")
        stop = start + size
        if stop > end:
            break
        frames.append((first, data[start:stop]))
        position = stop
    return frames, data[position:] if position else data


def lone_text(data: bytes) -> bytes | None:
    """The payload, if ``data`` is one text frame of the usual size and nothing else: a short cut."""
    if (
        len(data) > 3
        and data[0] == FINAL_TEXT
        and data[1] == 126
        and (data[2] << 8 | data[3]) == len(data) - 4
    ):
        return data[4:]
    return None


def accept_token(key: bytes) -> bytes:
    """What a server must answer to ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
