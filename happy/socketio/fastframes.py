"""Whole text frames from clients, without Autobahn's general frame parser.

Nearly everything that clients send is a final, masked text frame below 64 KiB that arrives in one piece.
:class:`FastWebSocket` recognises such frames itself, and hands everything else to Autobahn, including what
is wrong: so its behaviour, errors and closing codes stay Autobahn's (``tests/socketio/test_fastframes.py``
compares the two on random input). Autobahn's attributes that are used here (``state``, ``data``,
``current_frame``, ``inside_message``) are public but undocumented.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from happy.socketio.unmasking import unmask
from happy.socketio.websocket import EngineWebSocket

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_EXTENDED: Final = 0xFE
"""Second byte of a masked frame whose length is in the two that follow."""

_SHORTEST: Final = 6
"""Bytes of a masked frame without payload. What is shorter is for Autobahn to keep."""

_HEAD: Final = Struct(">BBH").unpack_from

# What follows the frames that were delivered.
_OTHER: Final = 0
_PARTIAL: Final = 1
"""The beginning of another whole text frame."""

_LATER: Final = 2
"""Whatever it is, there is no time for it now."""


class FastWebSocket(EngineWebSocket):
    """A WebSocket that behaves as its base, with less work for each message."""

    def dataReceived(self, data: bytes) -> None:
        """As the base, with less ado where nothing is left of what came before, and there is time."""
        if (
            self._unread
            or self.data
            or self.state != self.STATE_OPEN
            or self.current_frame is not None
            or self.inside_message
            or self.pace.late
        ):
            super().dataReceived(data)
            return
        try:
            end, _ = self._take_frames(data)
        except Exception as error:
            # A reactor would log it with its text, which may be what a client sent.
            self.failed(error)
            return
        if end < len(data):
            super().dataReceived(data[end:])

    def consume(self, data: bytes) -> bytes:
        """Take whole text frames as long as there are any and there is time; the rest is Autobahn's."""
        if self.state != self.STATE_OPEN or self.current_frame is not None or self.inside_message:
            return super().consume(data)
        if self.data:
            data = self.data + data
            self.data = b""
        end, follows = self._take_frames(data)
        if end == len(data):
            return b""
        rest = data[end:] if end else data
        if follows == _LATER:
            return rest
        if follows == _PARTIAL:
            self.data = rest
            return b""
        return super().consume(rest)

    def _take_frames(self, data: bytes) -> tuple[int, int]:
        """Deliver the whole text frames at the start of ``data``; where they end, and what follows."""
        limit = self.factory.settings.max_payload
        position, size = 0, len(data)
        while size - position >= _SHORTEST and self.state == self.STATE_OPEN:
            first, length, extended = _HEAD(data, position)
            start = position + _SHORTEST
            if length == _EXTENDED:
                length = extended
                start += 2
                odd = length < 126  # not in its shortest form
            else:
                length -= _MASKED
                odd = not 0 <= length < 126  # without a mask, or in eight bytes
            if odd or first != _FINAL_TEXT or (limit and length > limit):
                break
            end = start + length
            if end > size:
                return position, _PARTIAL
            payload = unmask(data, start, end)
            if not (payload.isascii() or _is_text(payload)):
                break
            position = end
            if self.owner is not None:
                self.owner.websocket_message(self, payload, False)
            if position < size and self.pace.over():
                return position, _LATER
        return position, _OTHER


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
