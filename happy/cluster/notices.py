"""Messages as PostgreSQL's NOTIFY carries them: as texts of less than 8,000 bytes.

A notice begins with a line ``number channel``, or ``number place count channel`` for a piece of a message
that is too large for one. The number makes it unlike every other: equal notices of one transaction are told
once. Bytes are characters of the same number, but 0, which no text of PostgreSQL's can hold, is number 256;
most are ASCII, and so stay single bytes.
"""

from __future__ import annotations

from itertools import count
from typing import Final

LARGEST: Final = 7900
"""Bytes of a notice."""

_NUL: Final = "\u0100"
_HEAD: Final = 100
"""Bytes that the first line has at most, for channels with the ids of this server."""
_PIECE: Final = (LARGEST - _HEAD) // 2
"""Characters of a piece, each of which may take two bytes."""


class NoticeWriter:
    """Makes notices of messages."""

    def __init__(self) -> None:
        self._numbers = count()

    def write(self, channel: str, payload: bytes) -> list[str]:
        """The notices of one message, to be sent in one transaction."""
        text = payload.decode("latin-1").replace("\0", _NUL)
        number = next(self._numbers)
        if len(text) <= _PIECE or len(text.encode()) <= LARGEST - _HEAD:
            return [f"{number} {channel}\n{text}"]
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        return [
            f"{number} {place} {len(pieces)} {channel}\n{piece}"
            for place, piece in enumerate(pieces, start=1)
        ]


class NoticeReader:
    """Makes messages of the notices of many senders."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[str]] = {}
        """By sender what is there of its message under way; a transaction's notices come without a gap."""

    def read(self, sender: int, notice: str) -> tuple[str, str] | None:
        """The channel and the text of the message that a notice completes. Raises ValueError for any other.

        :func:`bytes_of` has the text's bytes.
        """
        head, _, text = notice.partition("\n")
        words = head.split(" ")
        if len(words) == 2:
            return words[1], text
        _, place, total, channel = words
        if place == "1":
            self._pieces[sender] = []
        pieces = self._pieces[sender]
        pieces.append(text)
        if len(pieces) < int(total):
            return None
        return channel, "".join(self._pieces.pop(sender))


def bytes_of(text: str) -> bytes:
    """The payload that a message's text stands for."""
    return text.replace(_NUL, "\0").encode("latin-1")
