"""Server-to-client WebSocket frames (RFC 6455 section 5.2): final, unmasked, never compressed."""

from __future__ import annotations

from struct import Struct
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
_FINAL: Final = 0x80
_SHORT, _MEDIUM, _LONG = (Struct(layout).pack for layout in (">BB", ">BBH", ">BBQ"))


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """One whole message as one frame. ``payload`` of a text frame must be UTF-8."""
    length = len(payload)
    first = _FINAL | opcode
    if length < 126:
        return _SHORT(first, length) + payload
    if length < 65536:
        return _MEDIUM(first, 126, length) + payload
    return _LONG(first, 127, length) + payload
