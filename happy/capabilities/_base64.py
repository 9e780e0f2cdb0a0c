"""Base64 members of requests whose bytes are stored."""

from __future__ import annotations

from happy.codecs import decode_base64
from happy.wire.structs import Invalid, Problem


def decoded(text: str, *path: str | int) -> bytes:
    """The bytes of a base64 text (STRICT).

    Raises Invalid for a text that cannot be decoded, which ``path`` locates in the body (http.md D9).
    """
    try:
        return decode_base64(text)
    except ValueError:
        raise Invalid([Problem(("body", *path), "Invalid base64-encoded string")]) from None
