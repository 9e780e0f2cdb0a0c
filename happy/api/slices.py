r"""Decoding a large JSON text a slice at a time, so that others come in between.

msgspec decodes in one step, which for a hundred megabytes takes a quarter of a second. Such a text consists
of long strings, since its values are counted (:mod:`happy.wire.complexity`). So strings are taken out while
it is read, and decoded in parts; what is left is small and decoded as any other text. Then they are put back.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import force_setattr

from happy.api import validation
from happy.api.described import LONGEST_KEY, counts_utf16, key_members
from happy.api.structs import MalformedJson, decode_body
from happy.wire.complexity import MOST_VALUES, Meter, TooComplex
from happy.wire.surrogates import mend_surrogates

T = TypeVar("T")

SLICE: Final = 256 * 1024
"""Bytes that are worked through at a time, in some 10 ms at most."""

_SHORT: Final = 64
"""Bytes of strings that stay where they are."""

_LARGEST_FRAME: Final = 1024 * 1024
"""Bytes outside of strings: fifty for each value that there may be."""

_LARGEST_STRING: Final = 100 * 1024 * 1024
"""Bytes that a string may take in memory, where one wide character makes all of them four bytes wide."""

_SPACE: Final = re.compile(rb"[ \t\r\n]{2,}")
_HIGH_SURROGATE: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_ESCAPE: Final = 6
_CHARACTER: Final = 4


def decode_in_slices(shape: type[T], read: Callable[[int], bytes], blank: bytes) -> Generator[None, None, T]:
    """What :func:`~happy.api.structs.decode_body` returns and raises, in steps of some milliseconds.

    ``read(size)`` answers the next bytes of the text, and none at its end; ``blank`` is decoded instead of
    white space alone. What a Struct of ``shape`` checks itself must not depend on texts, and none may keep
    raw JSON: at that moment marks stand in the place of long strings.
    """
    text = _Text()
    while piece := read(SLICE):
        text.feed(piece)
        yield
    frame = text.end()
    yield
    value: T = text.put_back(decode_body(shape, frame if frame.strip() else blank))
    if text.long_keys or counts_utf16(shape):
        validation.check(shape, msgspec.to_builtins(value), "body")
    return value


class _Text:
    """A text in parts. Its methods raise :class:`MalformedJson`.

    ``long_keys`` tells of strings that the decoder has not seen, and would have found too long.
    """

    def __init__(self) -> None:
        self.long_keys = False
        self._meter = Meter()
        self._rest = b""
        self._frame: list[bytes] = []
        self._frame_left = _LARGEST_FRAME
        self._strings_left = 2 * MOST_VALUES
        self._inside = False
        self._string = _String()
        self._mark = secrets.token_hex(8)
        self._taken: dict[str, str] = {}

    def feed(self, piece: bytes) -> None:
        """The next bytes, cut anywhere."""
        try:
            self._meter.feed(piece)
        except TooComplex as reason:
            raise MalformedJson(str(reason)) from None
        text = self._rest + piece
        covered = _cover(text)
        end = _complete(text, covered)
        self._rest = text[end:]
        self._split(text[:end], covered[:end])

    def end(self) -> bytes:
        """The text with a mark in the place of each string that was taken out."""
        self._split(self._rest, _cover(self._rest))
        if self._inside:
            raise MalformedJson("JSON ends within a string")
        return b"".join(self._frame)

    def _split(self, text: bytes, covered: bytes) -> None:
        """Take the next part of the text apart at its quotation marks."""
        start = 0
        while True:
            mark = covered.find(b'"', start)
            part = text[start : len(text) if mark < 0 else mark]
            if self._inside:
                self._string.add(part)
            else:
                self._outside(part)
            if mark < 0:
                return
            if self._inside:
                self._take()
            self._inside = not self._inside
            start = mark + 1

    def _outside(self, part: bytes) -> None:
        part = _SPACE.sub(b" ", part)
        self._frame_left -= len(part)
        if self._frame_left < 0:
            raise MalformedJson("JSON has too much outside of its strings")
        self._frame.append(part)

    def _take(self) -> None:
        """A string is complete."""
        self._strings_left -= 1
        if self._strings_left < 0:
            raise MalformedJson("JSON has too many values")
        short, long = self._string.end()
        self._string = _String()
        if long is not None:
            short = f"{self._mark}{len(self._taken)}".encode()
            self._taken[short.decode()] = long
        self._frame.append(b'"%b"' % short)

    def put_back(self, value: Any, *, key: bool = False) -> Any:
        """A decoded value with every string where it was taken from; changed in place where it can be.

        ``key`` tells that it may be, or hold, what has a greatest length.
        """
        if isinstance(value, str):
            text = self._taken.get(value, value)
            self.long_keys = self.long_keys or (key and len(text) > LONGEST_KEY)
            return text
        if isinstance(value, list):
            value[:] = [self.put_back(item, key=key) for item in value]
        elif isinstance(value, dict):
            return {self.put_back(name): self.put_back(item, key=key) for name, item in value.items()}
        elif isinstance(value, msgspec.Struct):
            keys = key_members(type(value))
            for name in value.__struct_fields__:
                force_setattr(value, name, self.put_back(getattr(value, name), key=name in keys))
        return value


class _String:
    """A string between its quotation marks, as it arrives."""

    def __init__(self) -> None:
        self._begun = b""
        self._decoded: list[str] = []
        self._length = 0
        self._width = 1

    def add(self, part: bytes) -> None:
        """The next part, which ends with a whole character."""
        part = self._begun + part
        if self._decoded or len(part) > _SHORT:
            self._decode(part)
            part = b""
        self._begun = part

    def _decode(self, part: bytes) -> None:
        more = _plain(part)
        self._length += len(more)
        self._width = max(self._width, _width(more))
        if self._length * self._width > _LARGEST_STRING:
            raise MalformedJson("JSON has a string that is too large")
        # With one reference, a text grows where it is: joining a hundred megabytes would take too long.
        text = self._decoded.pop() if self._decoded else ""
        text += more
        self._decoded.append(text)

    def end(self) -> tuple[bytes, str | None]:
        """A short one as it stands, or a longer one decoded."""
        if self._decoded:
            return b"", self._decoded.pop()
        return self._begun, None


def _cover(text: bytes) -> bytes:
    """``text``, as long, without escaped backslashes and quotation marks: a backslash begins an escape."""
    if b"\0" in text:
        raise MalformedJson("JSON has no control characters")
    if b"\\" not in text:
        return text
    return text.replace(rb"\\", b"\0\0").replace(rb"\"", b"\0\0")


def _complete(text: bytes, covered: bytes) -> int:
    """How much of ``text`` ends with a whole character, escape and surrogate pair, whatever follows."""
    end = len(text)
    escape = covered.rfind(b"\\", max(end - _ESCAPE + 1, 0))
    if escape >= 0 and covered[escape + 1 : escape + 2] in (b"", b"u"):
        end = escape
    if pair := _HIGH_SURROGATE.search(covered, max(end - _ESCAPE, 0), end):
        end = pair.start()
    floor = max(end - _CHARACTER, 0)
    while end > floor and text[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if end and text[end - 1] >= 0xC0 else end


def _width(text: str) -> int:
    """Bytes that each character of ``text`` takes in memory, or more."""
    if text.isascii():
        return 1
    return 2 if len(text.encode("utf-16-le")) == 2 * len(text) else 4


def _plain(part: bytes) -> str:
    """What a part of a string stands for."""
    quoted = b'"%b"' % part
    try:
        return msgspec.json.decode(quoted, type=str)
    except UnicodeDecodeError:
        raise MalformedJson("JSON is not valid UTF-8") from None
    except msgspec.DecodeError:
        try:
            return msgspec.json.decode(mend_surrogates(quoted), type=str)
        except msgspec.DecodeError as fault:
            raise MalformedJson(str(fault).partition(" (byte")[0]) from None
