"""Bodies in chunks (RFC 9112, 7.1), as they arrive.

A chunk costs the same time however little it holds, so that what arrives together is taken apart in one loop
and handed on as one. Extensions and trailers are read over.
"""

from __future__ import annotations

import re
from typing import Final

from happy.wire.heads import FIELDS, UNFINISHED_FIELD

LONGEST_LINE: Final = 1024
"""Bytes of the line before a chunk: its size, and what it may have to say besides."""

MOST_FRAMING: Final = 16 * 1024
CONTENT_TO_FRAMING: Final = 8
"""Bytes that chunks may take beside their content, and bytes of content that pay for a further one. A chunk
takes the same time however little it holds."""

MOST_TRAILERS: Final = 4096
"""Bytes of trailers, whatever came before: a line of them that is not complete is looked at again with each
piece."""

# Each such line is read with the end of the chunk before it.
_SIZE: Final = re.compile(rb"\r\n([0-9A-Fa-f]++)(?:;[\t -~\x80-\xff]*+)?\r\n")
_UNFINISHED_SIZE: Final = re.compile(rb"\r?|\r\n(?:[0-9A-Fa-f]++(?:;[\t -~\x80-\xff]*+)?\r?)?")
_END: Final = b"\r\n"


class BadChunk(ValueError):
    """What is no chunk."""


class Chunks:
    """One body. ``owed`` are the bytes of the chunk that has begun which have yet to come."""

    __slots__ = ("_framing", "_rest", "_trailers", "_trails", "owed")

    def __init__(self) -> None:
        self.owed = 0
        self._rest = _END
        self._trails = False
        self._trailers = self._framing = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The content that is new, and what follows the body; None as long as that is not complete.

        Raises :class:`BadChunk` as soon as something cannot become a chunk, or takes more than it brings.
        """
        text = self._rest + data
        place = min(self.owed, len(text))
        content = [text[:place]]
        self.owed -= place
        while not self.owed and not self._trails:
            line = _SIZE.match(text, place, place + LONGEST_LINE)
            if line is None:
                break
            begin = line.end()
            size = int(line[1], 16)
            place = min(begin + size, len(text))
            content.append(text[begin:place])
            self.owed = begin + size - place
            self._trails = not size
        self._rest = text[place:]
        surplus = None
        if self._trails:
            surplus = self._trail()
        else:
            self._judge()
        whole = b"".join(content)
        self._framing += len(data) - len(surplus or b"") - len(whole) - len(whole) // CONTENT_TO_FRAMING
        if self._framing > MOST_FRAMING:
            raise BadChunk
        return whole, surplus

    def _judge(self) -> None:
        """Look at a line that is not complete."""
        rest = self._rest
        if rest and (len(rest) > LONGEST_LINE or _UNFINISHED_SIZE.fullmatch(rest) is None):
            raise BadChunk

    def _trail(self) -> bytes | None:
        """Read over trailers; what follows the empty line after them."""
        fields = FIELDS.match(self._rest)
        assert fields is not None  # there may be none
        rest = self._rest[fields.end() :]
        ends = rest.startswith(_END)
        self._trailers += fields.end()
        if self._trailers + (len(_END) if ends else len(rest)) > MOST_TRAILERS:
            raise BadChunk
        if ends:
            return rest[len(_END) :]
        if UNFINISHED_FIELD.fullmatch(rest) is None:
            raise BadChunk
        self._rest = rest
        return None
