"""JSON that is written a portion at a time, so that others come in between.

msgspec writes in one step, which for a hundred megabytes takes a tenth of a second, and as long again for
each copy. Values of that size consist of a few long texts. So these are taken out first, and written in
portions between what is left, which is small.
"""

from __future__ import annotations

import secrets
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct, UnsetType

from happy.base.codecs import encode_base64
from happy.storage.large import SLICE, Kind, Large

LARGE: Final = 512 * 1024
"""Characters of a value from which on it is written in portions."""

PORTION: Final = 128 * 1024
"""Characters of a text, or bytes of a value, that are written at a time: six times as many bytes at most."""

_LONG: Final = 16 * 1024
"""Characters of a text that is taken out."""

_SMALL: Final = frozenset({int, bool, float, type(None), Raw, UnsetType})

Writer = Callable[[bytes | memoryview, bool], bytes]
"""Writes the next slice of a value; the flag tells the last one."""


class Sliced:
    """A stored value that is there, in slices of :data:`~happy.storage.large.SLICE` bytes and a last one."""

    __slots__ = ("kind", "size", "slices")

    def __init__(self, kind: Kind, slices: Sequence[bytes | memoryview]) -> None:
        self.kind = kind
        self.slices = slices
        self.size = sum(map(len, slices))

    def text(self) -> str:
        """All of it as JSON has it."""
        whole = b"".join(self.slices)
        return encode_base64(whole) if self.kind is Kind.BYTES else whole.decode()


def sliced(data: bytes) -> Sliced:
    """Bytes at hand as such a value, without a copy."""
    view = memoryview(data)
    return Sliced(Kind.BYTES, [view[start : start + SLICE] for start in range(0, len(data), SLICE)])


class _Text:
    """A text that was taken out."""

    __slots__ = ("size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text)


Held = Sliced | _Text
"""What is at hand, and written in portions."""


def is_large(value: Any) -> bool:
    """Whether a struct is to be written in portions; anything else never is."""
    return isinstance(value, Struct) and size_of(value) > LARGE


def size_of(value: Any) -> int:
    """How many characters a value has in texts; more than :data:`LARGE` if it has to be in portions."""
    kind = type(value)
    if kind in _SMALL:
        return 0
    if kind is str:
        return len(value)
    if isinstance(value, Struct):
        return sum([size_of(getattr(value, name)) for name in value.__struct_fields__])
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    return LARGE + 1 + value.size if isinstance(value, Sliced) else 0  # Nothing else can write those.


class Outline(NamedTuple):
    """JSON without its long values, and these; each comes between two parts."""

    parts: list[bytes]
    values: list[Large | Held]


def outline(value: Any, before: bytes = b"") -> Outline:
    """The JSON of a value after ``before``. Raises TypeError for what is nothing that JSON can carry."""
    mark = secrets.token_hex(16)
    found: list[Large | Held] = []

    def note(value: Any) -> str | int:
        if isinstance(value, int):  # a time as storage types it
            return int(value)
        if not isinstance(value, Large | Sliced | _Text):
            raise TypeError(f"{type(value).__name__} is nothing for JSON")
        found.append(value)
        return mark

    text = before + msgspec.json.encode(_without_texts(value), enc_hook=note)
    return Outline(text.split(b'"%b"' % mark.encode()), found)


def _without_texts(value: Any) -> Any:
    """The value with each long text taken out."""
    if type(value) is str:
        return _Text(value) if len(value) > _LONG else value
    if isinstance(value, Struct):
        members = {name: getattr(value, name) for name in value.__struct_fields__}
        changed = {name: new for name, old in members.items() if (new := _without_texts(old)) is not old}
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, dict):
        return {name: _without_texts(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_texts(item) for item in value]
    return value


def in_portions(value: Any) -> Iterator[bytes]:
    """The JSON of a value that is at hand, in portions of some milliseconds each."""
    parts, values = outline(value)
    yield parts[0]
    for held, part in zip(values, parts[1:], strict=True):
        assert not isinstance(held, Large)
        yield from portions_of(held)
        yield part


def portions_of(held: Held) -> Iterator[bytes]:
    """The JSON of one such value."""
    if isinstance(held, _Text):
        yield b'"'
        for start in range(0, held.size, PORTION):
            yield msgspec.json.encode(held.text[start : start + PORTION])[1:-1]
        yield b'"'
        return
    write, quote = WRITERS[held.kind](), QUOTES[held.kind]
    yield quote
    for piece in held.slices:
        for start in range(0, len(piece), _STEP):
            yield write(piece[start : start + _STEP], False)
    yield write(b"", True) + quote


_STEP: Final = PORTION // 3 * 3
"""Base64 needs no rest of so many bytes for the next ones."""


def _text() -> Writer:
    """Writes slices of UTF-8, which may end within a character, as the inside of a JSON string."""
    decoder = getincrementaldecoder("utf-8")()
    return lambda data, end: msgspec.json.encode(decoder.decode(data, end))[1:-1]


def _base64() -> Writer:
    return lambda data, end: encode_base64(data).encode()


def _json() -> Writer:
    return lambda data, end: bytes(data)


WRITERS: Final[dict[Kind, Callable[[], Writer]]] = {
    Kind.TEXT: _text,
    Kind.BYTES: _base64,
    Kind.JSON: _json,
}
QUOTES: Final = {Kind.TEXT: b'"', Kind.BYTES: b'"', Kind.JSON: b""}
