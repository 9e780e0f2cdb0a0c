"""Server-to-client WebSocket frames (RFC 6455 section 5.2): final, unmasked, never compressed."""

from __future__ import annotations

from struct import Struct
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
_FINAL: Final = 0x80
_SHORT, _MEDIUM, _LONG = (Struct(layout).pack for layout in (">BB", ">BBH", ">BBQ"))

LONG: Final = 65536
"""Bytes of a payload from which on a frame has the longest head."""
LONGEST_HEAD: Final = 10
"""Bytes of it."""


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """One whole message as one frame. ``payload`` of a text frame must be UTF-8."""
    length = len(payload)
    first = _FINAL | opcode
    if length < 126:
        return _SHORT(first, length) + payload
    if length < LONG:
        return _MEDIUM(first, 126, length) + payload
    return _LONG(first, 127, length) + payload


def longest_head(opcode: int, length: int) -> bytes:
    """What such a frame begins with, before a payload of so many bytes."""
    return _LONG(_FINAL | opcode, 127, length)
