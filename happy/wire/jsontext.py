r"""JSON as ECMAScript peers write and read it, where msgspec differs (realtime.md A.11).

Going out, not-a-number becomes ``null``, whole floats lose their ``.0``, and lone surrogates, which UTF-8
cannot carry, become ``\udXXX`` escapes. Coming in, such an escape is allowed: it stays in raw slices, and
counts as U+FFFD in decoded text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from functools import cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw

from happy.wire.complexity import DEEPEST
from happy.wire.engineio import InvalidPacket
from happy.wire.surrogates import mend_surrogates

_EXPONENT: Final = 1e21
"""From here on ECMAScript writes a whole number in exponent form."""

_TOO_DEEP: Final = "a value nests too deeply to be sent"


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


_ARRAY: Final = msgspec.json.Decoder(list[Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_ANY: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_PLAIN: Final = frozenset({Raw, str, int, bool, type(None), msgspec.UnsetType})
_BETWEEN: Final = re.compile(rb"[\s,]*")


def encode_json(value: Any, attachments: list[bytes]) -> bytes:
    """Compact JSON of any value that msgspec encodes; a ``Raw`` is JSON already.

    Every :class:`Attachment` inside becomes a placeholder, its bytes appended to ``attachments`` in
    depth-first order.

    :raises TypeError: something inside is nothing that JSON can carry.
    :raises ValueError: it nests too deeply.
    """
    if isinstance(value, Raw):
        return bytes(value)
    _refuse_bytes(value, DEEPEST)
    try:
        return _encode_with_care(value, attachments)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def encode_plainly(values: Sequence[Any]) -> bytes | None:
    """A JSON array in one step; None if an element may need more care, as :func:`encode_json` gives it."""
    numbers = False
    for value in values:
        kind = type(value)
        if not _without_fractions(kind):  # type: ignore[arg-type]  # types are hashable
            numbers = True
            _refuse_bytes(value, DEEPEST)
    try:
        text = _ENCODER.encode(values)
    except (TypeError, UnicodeEncodeError, RecursionError):
        return None
    # Looking for one byte is much faster than looking for two.
    return None if numbers and b"." in text and b".0" in text else text


def _refuse_bytes(value: Any, levels: int) -> None:
    """Raise TypeError for bytes in so many levels of containers: msgspec would make base64 of them.

    What lies deeper is refused for that.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("bytes have no JSON form; an Attachment carries them")
    if levels and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _refuse_bytes(item, levels - 1)
    elif levels and isinstance(value, dict):
        for item in value.values():
            _refuse_bytes(item, levels - 1)


@cache
def _without_fractions(kind: Hashable) -> bool:
    """Whether no value of a type writes a fraction of its own; what is encoded already stays as it is."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return kind in _PLAIN
    try:
        hints = get_type_hints(kind)
    except NameError:  # a type that only type checkers see
        return False
    return all(_only_plain(hints[name]) for name in kind.__struct_fields__)


def _only_plain(hint: Any) -> bool:
    return hint in _PLAIN or (get_origin(hint) in (Union, UnionType) and set(get_args(hint)) <= _PLAIN)


def _encode_with_care(value: Any, attachments: list[bytes]) -> bytes:
    """As :func:`encode_json`, for what may hold attachments, whole floats or lone surrogates."""
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
    return _write(msgspec.to_builtins(value, builtin_types=(Raw,), str_keys=True, enc_hook=replace), DEEPEST)


def _write(tree: Any, levels: int) -> bytes:
    """JSON of plain values that nest in so many levels at most. Raises ValueError if there are more."""
    if isinstance(tree, (dict, list, tuple)):
        if not levels:
            raise ValueError(_TOO_DEEP)
        return _write_container(tree, levels - 1)
    if isinstance(tree, str):
        return json.dumps(tree, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if isinstance(tree, float) and tree.is_integer() and abs(tree) < _EXPONENT:
        return b"%d" % tree
    return msgspec.json.encode(tree)


def _write_container(tree: Any, levels: int) -> bytes:
    if isinstance(tree, dict):
        members = [_write(key, levels) + b":" + _write(value, levels) for key, value in tree.items()]
        return b"{" + b",".join(members) + b"}"
    return b"[" + b",".join([_write(item, levels) for item in tree]) + b"]"


def split_array(text: bytes) -> list[Raw]:
    """The elements of a JSON array, each as it stands.

    :raises InvalidPacket: it is no array, no JSON, or nested too deeply.
    """
    try:
        return _ARRAY.decode(text)
    except (ValueError, RecursionError):
        mended = _mend(text)
    position = text.index(b"[") + 1
    elements = []
    for element in _decode(_ARRAY, mended):
        start = _after(text, position)
        position = start + len(bytes(element))
        elements.append(Raw(text[start:position]))
    return elements


def split_object(text: bytes) -> Raw:
    """A JSON object, with lone surrogates mended.

    :raises InvalidPacket: it is something else.
    """
    try:
        _OBJECT.decode(text)
    except (ValueError, RecursionError):
        text = _mend(text)
        _decode(_OBJECT, text)
    return Raw(text)


def decode_json(text: bytes | Raw) -> Any:
    """Any JSON as plain values.

    :raises InvalidPacket: it is no JSON, or nested too deeply.
    """
    try:
        return _ANY.decode(text)
    except (ValueError, RecursionError):
        return _decode(_ANY, _mend(bytes(text)))


def _decode(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError):
        raise InvalidPacket("malformed payload") from None


def _mend(text: bytes) -> bytes:
    r"""The same text, byte for byte as long, with ``\ufffd`` in place of escaped lone surrogates.

    :raises InvalidPacket: there is nothing to mend.
    """
    mended = mend_surrogates(text)
    if mended == text:
        raise InvalidPacket("malformed payload")
    return mended


def _after(text: bytes, position: int) -> int:
    """Where the next element starts."""
    between = _BETWEEN.match(text, position)
    return between.end() if between else position
