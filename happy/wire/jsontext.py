"""JSON as ECMAScript writes it, with binary attachments taken out of it.

Where Socket.IO peers expect something else than msgspec's encoder writes (realtime.md A.11): not-a-number
becomes ``null``, whole floats lose their ``.0``, and lone surrogates, which UTF-8 cannot carry, go out as
``\\udXXX`` escapes.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

_EXPONENT: Final = 1e21
"""From here on ECMAScript writes a whole number in exponent form."""


class Attachment:
    """Bytes that travel beside the JSON, as a binary message of their own."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attachment) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"<Attachment of {len(self.data)} bytes>"


def encode_json(value: Any, attachments: list[bytes]) -> bytes:
    """Compact JSON of any value that msgspec encodes; ``bytes`` and ``Raw`` are JSON already.

    Every :class:`Attachment` inside becomes a placeholder, its bytes appended to ``attachments`` in
    depth-first order.

    :raises TypeError: something inside is nothing that JSON can carry.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    before = len(attachments)

    def replace(unknown: Any) -> dict[str, Any]:
        if not isinstance(unknown, Attachment):
            raise TypeError(f"{type(unknown).__name__} has no JSON form")
        attachments.append(unknown.data)
        return {"_placeholder": True, "num": len(attachments) - 1}

    try:
        text = msgspec.json.encode(value, enc_hook=replace)
        if b".0" not in text:
            return text
    except UnicodeEncodeError:
        pass
    del attachments[before:]
    return _write(msgspec.to_builtins(value, builtin_types=(msgspec.Raw,), str_keys=True, enc_hook=replace))


def _write(tree: Any) -> bytes:
    if isinstance(tree, dict):
        return b"{" + b",".join([_write(key) + b":" + _write(value) for key, value in tree.items()]) + b"}"
    if isinstance(tree, (list, tuple)):
        return b"[" + b",".join([_write(item) for item in tree]) + b"]"
    if isinstance(tree, str):
        return json.dumps(tree, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if isinstance(tree, float) and tree.is_integer() and abs(tree) < _EXPONENT:
        return b"%d" % tree
    return msgspec.json.encode(tree)
