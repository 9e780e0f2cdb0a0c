"""What kind of body a request has, and what endpoints make of it (http.md 3.3)."""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, BinaryIO, Final, TypeVar

import msgspec

from happy.api.slices import decode_in_slices
from happy.api.structs import Invalid, MalformedJson, Problem, decode_body, decode_value
from happy.wire.complexity import TooComplex, check_complexity

T = TypeVar("T")

LARGE: Final = 1024 * 1024
"""JSON texts up to it are decoded in one step."""


class BodyKind(Enum):
    """How a body is to be read."""

    NONE = "none"
    JSON = "application/json"
    TEXT = "text/plain"
    BYTES = "application/octet-stream"


_KINDS: Final = {kind.value: kind for kind in BodyKind if kind is not BodyKind.NONE}
_BODILESS: Final = frozenset({"GET", "HEAD"})
_EMPTY_IS_NONE: Final = frozenset({"GET", "HEAD", "DELETE"})


def is_json(content_type: str | None) -> bool:
    """Whether a header ``Content-Type`` announces JSON."""
    return _kind(content_type) is BodyKind.JSON


def _kind(content_type: str | None) -> BodyKind | None:
    return _KINDS.get((content_type or "").partition(";")[0].strip().lower())


class UnsupportedMedia(Exception):
    """A body of a type that is not understood; ``content_type`` as received, None without one."""

    def __init__(self, content_type: str | None) -> None:
        super().__init__()
        self.content_type = content_type


class Payload:
    """A request's body, not yet decoded.

    ``raw`` holds the bytes of a body that is small; ``content`` reads them. JSON that is ``large`` is decoded
    and checked in steps, by the functions that say so.
    """

    def __init__(
        self, kind: BodyKind, content: BinaryIO, *, length: int = 0, empty_is_object: bool = False
    ) -> None:
        self.kind = kind
        self.content = content
        self.large = kind is BodyKind.JSON and length > LARGE
        self._blank = b"{}" if empty_is_object else b"null"
        self._raw: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The bytes as received; all of them are in memory from then on."""
        if self._raw is None:
            self.content.seek(0)
            self._raw = self.content.read()
        return self._raw

    def _json(self) -> bytes:
        """The JSON text; a blank one stands for an empty object, or for no body at all."""
        raw = self.raw
        if not raw.strip():
            return self._blank
        try:
            check_complexity(raw)
        except TooComplex as reason:
            raise MalformedJson(str(reason)) from None
        return raw

    def decode(self, shape: type[T]) -> T:
        """The body as ``shape``. Raises MalformedJson or Invalid."""
        if self.kind is BodyKind.JSON:
            return decode_body(shape, self._json())
        return decode_value(shape, self._plain())

    def decode_in_slices(self, shape: type[T]) -> Generator[None, None, T]:
        """As :meth:`decode`, in steps of some milliseconds, for a large body."""
        self.content.seek(0)
        return decode_in_slices(shape, self.content.read, self._blank)

    def _plain(self) -> Any:
        # No shape is a text or bytes, so what they say makes no difference.
        if self.kind is BodyKind.TEXT:
            return ""
        return {} if self.kind is BodyKind.BYTES else None

    def parse(self) -> None:
        """Check the body of an endpoint that does not look into it. Raises MalformedJson."""
        if self.kind is BodyKind.JSON:
            decode_body(msgspec.Raw, self._json())

    def parse_in_slices(self) -> Generator[None, None, None]:
        """As :meth:`parse`, for a large body."""
        yield from self.decode_in_slices(msgspec.Raw)

    def file(self) -> BinaryIO:
        """The body for an endpoint that stores it as it is. Raises Invalid if there is none."""
        if self.kind is BodyKind.NONE:
            raise Invalid([Problem(("body",), "Invalid input: expected object, received null")])
        self.content.seek(0)
        return self.content


def payload_of(method: str, content_type: str | None, length: int, content: BinaryIO) -> Payload:
    """The body of a request of ``length`` bytes. Raises :class:`UnsupportedMedia`.

    A type that is named has to be a known one even where no body follows.
    """
    if method in _BODILESS or (content_type is None and not length):
        return Payload(BodyKind.NONE, content)
    kind = _kind(content_type)
    if kind is None:
        raise UnsupportedMedia(content_type or None)
    return Payload(kind, content, length=length, empty_is_object=method not in _EMPTY_IS_NONE)
