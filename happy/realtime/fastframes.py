"""Whole text frames from clients, without Autobahn's general frame parser.

Nearly everything that clients send is a final, masked text frame below 64 KiB that arrives in one piece.
:class:`FastWebSocket` recognises such frames itself, and hands everything else to Autobahn, including what
is wrong: so its behaviour, errors and closing codes stay Autobahn's (``tests/realtime/test_fastframes.py``
compares the two on random input). Replies that are made while a chunk of input is processed leave in one
write. Autobahn's attributes that are used here (``state``, ``data``, ``current_frame``,
``inside_message``) are public but undocumented.
"""

from __future__ import annotations

from happy.realtime.websocket import RealtimeWebSocket

_FINAL_TEXT = 0x81
_MASKED = 0x80


class FastWebSocket(RealtimeWebSocket):
    """A WebSocket that behaves as its base, with less work for each message."""

    _corked: list[bytes] | None = None

    def dataReceived(self, data: bytes) -> None:
        """Take whole text frames as long as there are any; the rest is Autobahn's."""
        if self.state != self.STATE_OPEN or self.current_frame is not None or self.inside_message:
            super().dataReceived(data)
            return
        if self.data:
            data = self.data + data
            self.data = b""
        self._corked = []
        try:
            end, partial = self._take_frames(data)
        finally:
            self._uncork()
        if end == len(data):
            return
        rest = data[end:] if end else data
        if partial:
            self.data = rest
        else:
            super().dataReceived(rest)

    def _take_frames(self, data: bytes) -> tuple[int, bool]:
        """Deliver the whole text frames at the start of ``data``.

        Answers where they end, and whether what follows is the beginning of another such frame.
        """
        limit = self.factory.settings.max_payload
        position, size = 0, len(data)
        while position < size and self.state == self.STATE_OPEN:
            if data[position] != _FINAL_TEXT:
                return position, False
            if size - position < 2:
                return position, True
            length = data[position + 1]
            if length < _MASKED:
                return position, False
            length -= _MASKED
            start = position + 6
            if length == 126:
                if size - position < 4:
                    return position, True
                length = data[position + 2] << 8 | data[position + 3]
                start += 2
            if _odd(length, start - position) or (limit and length > limit):
                return position, False
            end = start + length
            if end > size:
                return position, True
            payload = _unmasked(data, start, end)
            if not _is_text(payload):
                return position, False
            position = end
            self.onMessage(payload, False)
        return position, False

    def send_frames(self, frames: bytes) -> None:
        """As the base; while input is processed, frames wait for the others."""
        if self._corked is None:
            super().send_frames(frames)
        elif not self._closing and self.state == self.STATE_OPEN:
            self._corked.append(frames)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Nothing may follow a close frame, so what waits goes first."""
        self._uncork()
        super().sendCloseFrame(code, reasonUtf8, isReply)

    def close(self) -> None:
        """As the base, after what waits."""
        self._uncork()
        super().close()

    def _uncork(self) -> None:
        corked, self._corked = self._corked, None
        if corked:
            super().send_frames(corked[0] if len(corked) == 1 else b"".join(corked))


def _odd(length: int, head: int) -> bool:
    """A length that is not written in its shortest form, or in eight bytes."""
    return length > 125 if head == 6 else length < 126


def _unmasked(data: bytes, start: int, end: int) -> bytes:
    """The payload between two positions; its mask is in the four bytes before it (RFC 6455 section 5.3)."""
    length = end - start
    mask = (data[start - 4 : start] * ((length >> 2) + 1))[:length]
    plain = int.from_bytes(data[start:end], "little") ^ int.from_bytes(mask, "little")
    return plain.to_bytes(length, "little")


def _is_text(payload: bytes) -> bool:
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
