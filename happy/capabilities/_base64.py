"""Base64 in requests and answers for what is stored as bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from happy.codecs import decode_base64, decode_base64_leniently, encode_base64
from happy.wire.structs import Invalid, Problem


def decoded(text: str, *path: str | int) -> bytes:
    """The bytes of a base64 text (STRICT).

    Raises Invalid for a text that cannot be decoded, which ``path`` locates in the body (http.md D9).
    """
    try:
        return decode_base64(text)
    except ValueError:
        raise Invalid([Problem(("body", *path), "Invalid base64-encoded string")]) from None


def data_key(text: str | None) -> bytes | None:
    """A data encryption key as it is stored (LENIENT): an empty text is none."""
    return decode_base64_leniently(text) if text else None


def members_of(row: NamedTuple) -> dict[str, Any]:
    """A row's members as answers and announcements share them: bytes as base64."""
    return {
        name: encode_base64(value) if isinstance(value, bytes) else value
        for name, value in row._asdict().items()
    }


def as_text(value: Any) -> Any:
    """Bytes as base64; anything else, and what is read later, as it is."""
    return encode_base64(value) if isinstance(value, bytes) else value
