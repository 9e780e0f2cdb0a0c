"""Server-to-client WebSocket frames (RFC 6455 section 5.2): final, unmasked, never compressed."""

from __future__ import annotations

from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
_FINAL: Final = 0x80


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """One whole message as one frame. ``payload`` of a text frame must be UTF-8."""
    length = len(payload)
    first = _FINAL | opcode
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126, length >> 8, length & 0xFF)) + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload
