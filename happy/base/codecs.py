"""Text forms of bytes: base64 in the flavours of http.md 2, hexadecimal, and base64url."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator

_SLICE = 1024 * 1024  # characters; whole groups of four
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_FOREIGN = bytes(set(range(256)) - set(_DIGITS))
_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE = re.compile(r"[ \t\r\n\f]+")
_TO_STANDARD = str.maketrans("-_", "+/")
_TO_URL = str.maketrans("+/", "-_")


def encode_base64(data: bytes | memoryview) -> str:
    """Standard alphabet, always padded, no line breaks (flavour OUT)."""
    return b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Read the flavour STRICT: standard alphabet, padding optional, a single left-over character ignored.

    Raises ValueError for a text shorter than four characters (other than the empty one), for more
    than two trailing ``=``, and for any other character outside of the alphabet.
    """
    return b"".join(base64_slices(text))


def base64_slices(text: str) -> Iterator[bytes]:
    """As :func:`decode_base64`, in steps of some milliseconds."""
    if not text:
        return
    padding = len(text[-3:]) - len(text[-3:].rstrip("="))
    if len(text) < 4 or padding > 2:
        raise ValueError("base64 text is too short or has too much padding")
    end = len(text) - padding
    for start in range(0, end, _SLICE):
        yield _decode_digits(text[start : min(start + _SLICE, end)])


def decode_base64_leniently(text: str) -> bytes:
    """Read the flavour LENIENT: both alphabets, up to the first ``=``, skipping everything else.

    Never fails; a single left-over character is dropped.
    """
    return b"".join(lenient_base64_slices(text))


def lenient_base64_slices(text: str) -> Iterator[bytes]:
    """As :func:`decode_base64_leniently`, in steps of some milliseconds."""
    end, rest = text.find("="), b""
    for start in range(0, len(text) if end < 0 else end, _SLICE):
        stop = start + _SLICE if end < 0 else min(start + _SLICE, end)
        digits = rest + text[start:stop].encode("ascii", "ignore").translate(_STANDARD, _FOREIGN)
        whole = len(digits) // 4 * 4
        rest = digits[whole:]
        yield a2b_base64(digits[:whole])
    yield _decode_digits(rest.decode())


def encode_base64url(data: bytes) -> str:
    """The URL-safe alphabet, unpadded."""
    return encode_base64(data).rstrip("=").translate(_TO_URL)


def decode_base64url(text: str) -> bytes:
    """Read base64url as JOSE libraries do: either alphabet, padding optional, white space ignored.

    Raises ValueError for any other character.
    """
    digits = _WHITE_SPACE.sub("", text).rstrip("=").translate(_TO_STANDARD)
    return _decode_digits(digits)


def encode_hex(data: bytes) -> str:
    """Upper-case hexadecimal, the form of public keys in the database (schema.md 2.2)."""
    return data.hex().upper()


def _decode_digits(digits: str) -> bytes:
    """Decode unpadded standard base64; bits and a character that make no whole byte are ignored.

    Raises ValueError for a character that is no digit.
    """
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    if "=" in digits:
        raise ValueError("base64 text goes on after its padding")
    return a2b_base64(digits + "=" * (-len(digits) % 4), strict_mode=True)
