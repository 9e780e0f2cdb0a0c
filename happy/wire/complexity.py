r"""How deep a JSON text nests and how many values it has, before anything is built of it.

A text of a megabyte can hold half a million values, each of which costs a hundred times its length, or nest
so deep that whoever walks it runs out of stack, at a depth of the interpreter's own; and a number near the
largest that there is takes as long to read as three hundred others. All of that is bounded here, once for
everything that clients send. The measure is linear, works on pieces as they arrive, and leaves all
loops to compiled functions; of what is no JSON it says anything.
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Final

DEEPEST: Final = 128
"""Arrays and objects within each other."""

MOST_VALUES: Final = 20_000
"""Values of one text, containers and the names of members included."""

MOST_EXPONENTS: Final = 500
"""Numbers of one text with an exponent. Programs write it for what is very small or very large."""

SMALL: Final = 4 * MOST_EXPONENTS
"""Bytes of a text that may nest too deeply, but has not too much of anything else."""

_NUMBERS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_PIECE: Final = 256 * 1024
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"
_SIGNS: Final = bytes.maketrans(_OPENING + _CLOSING, b"\x01\x01\xff\xff")
_OTHERS: Final = bytes(set(range(256)) - set(_OPENING + _CLOSING))


class TooComplex(ValueError):
    """A text beyond the bounds. ``str()`` says which, without repeating it."""


def check_complexity(text: bytes) -> None:
    """Nothing for a text within the bounds. Raises :class:`TooComplex`.

    Nearly every text is cleared by counting some characters; those of its strings count too, so only what
    has many of them is looked at more closely.
    """
    opened = _opened(text)
    # Before each value, and so before each exponent, is one of these.
    if opened > DEEPEST or (
        len(text) > SMALL and opened + _count(text, b",") + _count(text, b":") > MOST_EXPONENTS
    ):
        _measure(text, Meter())


def check_depth(text: bytes) -> None:
    """As :func:`check_complexity`, with no other bound than that on depth."""
    if _opened(text) > DEEPEST:
        _measure(text, Meter(len(text), len(text)))


def _opened(text: bytes) -> int:
    """The most arrays and objects that a text can have; 0 if it is too short for too many."""
    size = len(text)
    # As `_count` does it; this is done for every packet.
    return 2 * size - len(text.replace(b"[", b"")) - len(text.replace(b"{", b"")) if size > DEEPEST else 0


def _count(text: bytes, character: bytes) -> int:
    """As ``text.count``, which looks at each byte; this skips to the next one that matters."""
    return len(text) - len(text.replace(character, b""))


def _measure(text: bytes, meter: Meter) -> None:
    for start in range(0, len(text), _PIECE):
        meter.feed(text[start : start + _PIECE])


class Meter:
    """Measures one text, piece by piece."""

    __slots__ = ("_depth", "_escape", "_exponents_left", "_inside", "_most", "_values")

    def __init__(self, most_values: int = MOST_VALUES, most_exponents: int = MOST_EXPONENTS) -> None:
        self._most = most_values
        self._exponents_left = most_exponents
        self._depth = 0
        self._values = 0
        self._inside = False
        self._escape = b""

    def feed(self, piece: bytes) -> None:
        """Measure the next piece. Raises :class:`TooComplex` as soon as the text is."""
        pieces = self._without_escapes(piece).split(b'"', 2 * self._most + 1)
        if len(pieces) > 2 * self._most + 1:
            raise TooComplex("JSON has too many values")
        outside = b"".join(pieces[1 if self._inside else 0 :: 2])
        if not len(pieces) % 2:
            self._inside = not self._inside
        self._count(outside)

    def _without_escapes(self, piece: bytes) -> bytes:
        """What is left when a backslash and what it escapes are taken out; the last one may come later."""
        piece = self._escape + piece
        self._escape = b""
        if b"\\" not in piece:
            return piece
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece, self._escape = piece[:-1], b"\\"
        return piece.replace(b"\\\\", b"").replace(b'\\"', b"")

    def _count(self, outside: bytes) -> None:
        brackets = outside.translate(_SIGNS, _OTHERS)
        self._values += outside.count(b",") + outside.count(b":") + brackets.count(b"\x01")
        if self._values > self._most or len(brackets) > 2 * self._most:
            raise TooComplex("JSON has too many values")
        self._exponents_left -= outside.translate(_NUMBERS).count(b"0e")
        if self._exponents_left < 0:
            raise TooComplex("JSON has too many exponents")
        if brackets:
            *_, self._depth = depths = list(accumulate(array("b", brackets), initial=self._depth))
            if max(depths) > DEEPEST:
                raise TooComplex("JSON nests too deeply")
