"""Base64 in requests and answers for what is stored as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from happy.api.portions import sliced
from happy.api.structs import Invalid, Problem
from happy.base.codecs import (
    base64_slices,
    decode_base64,
    decode_base64_leniently,
    encode_base64,
    lenient_base64_slices,
)
from happy.storage.large import ROOM

if TYPE_CHECKING:
    from happy.base.pace import Pace

_MUCH: Final = 32 * 1024
"""Characters of a text from which on others come in between: there may be a hundred of such in a request."""


def decoded(text: str, *path: str | int) -> bytes:
    """The bytes of a base64 text (STRICT).

    Raises Invalid for a text that cannot be decoded, which ``path`` locates in the body (http.md D9).
    """
    try:
        return decode_base64(text)
    except ValueError:
        raise _misfit(path) from None


async def decoded_in_turns(pace: Pace, account: str, text: str, *path: str | int) -> bytes:
    """As :func:`decoded`, for a text of any length, in the account's turns."""
    try:
        return await _joined(pace, account, text, base64_slices(text))
    except ValueError:
        raise _misfit(path) from None


async def decoded_leniently_in_turns(pace: Pace, account: str, text: str) -> bytes:
    """The bytes of a base64 text (LENIENT) of any length."""
    return await _joined(pace, account, text, lenient_base64_slices(text))


async def _joined(pace: Pace, account: str, text: str, slices: Iterator[bytes]) -> bytes:
    """All slices of a text; each of a long one is made when it is the account's turn."""
    found = BytesIO()  # grows where it is, and hands out what it has without another copy
    while True:
        if len(text) > _MUCH:
            await pace.turn(f"account:{account}")
        piece = next(slices, None)
        if piece is None:
            return found.getvalue()
        found.write(piece)


def _misfit(path: tuple[str | int, ...]) -> Invalid:
    return Invalid([Problem(("body", *path), "Invalid base64-encoded string")])


def data_key(text: str | None) -> bytes | None:
    """A data encryption key as it is stored (LENIENT): an empty text is none."""
    return decode_base64_leniently(text) if text else None


def members_of(row: NamedTuple) -> dict[str, Any]:
    """A row's members as answers and announcements share them: bytes as base64."""
    return {name: as_text(value) for name, value in row._asdict().items()}


def as_text(value: Any) -> Any:
    """Bytes as base64, or if a result would not hold them, as what is written so; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    return encode_base64(value) if len(value) <= ROOM else sliced(value)
