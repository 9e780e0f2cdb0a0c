"""What kind of body a request has, and what endpoints make of it (http.md 3.3)."""

from __future__ import annotations

from enum import Enum
from typing import Any, BinaryIO, Final, TypeVar

import msgspec

from happy.wire.structs import Invalid, Problem, decode_body, decode_value, parse_json

T = TypeVar("T")


class Kind(Enum):
    """How a body is to be read."""

    NONE = "none"
    JSON = "application/json"
    TEXT = "text/plain"
    BYTES = "application/octet-stream"


_KINDS: Final = {kind.value: kind for kind in Kind if kind is not Kind.NONE}
_BODILESS: Final = frozenset({"GET", "HEAD"})
_EMPTY_IS_NONE: Final = frozenset({"GET", "HEAD", "DELETE"})


class UnsupportedMedia(Exception):
    """A body of a type that is not understood; ``content_type`` as received, None without one."""

    def __init__(self, content_type: str | None) -> None:
        super().__init__()
        self.content_type = content_type


class Payload:
    """A request's body, not yet decoded.

    ``raw`` holds the bytes of a body that is small or that an endpoint decodes; ``content`` reads them.
    """

    def __init__(self, kind: Kind, content: BinaryIO, *, empty_is_object: bool = False) -> None:
        self.kind = kind
        self.content = content
        self._empty_is_object = empty_is_object
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
        if raw.strip():
            return raw
        return b"{}" if self._empty_is_object else b"null"

    def decode(self, shape: type[T]) -> T:
        """The body as ``shape``. Raises MalformedJson or Invalid."""
        if self.kind is Kind.JSON:
            return decode_body(shape, self._json())
        return decode_value(shape, self._plain())

    def _plain(self) -> Any:
        if self.kind is Kind.TEXT:
            return self.raw.decode(errors="replace")
        # Bytes are an object without any member that an endpoint knows.
        return {} if self.kind is Kind.BYTES else None

    def parse(self) -> None:
        """Check the body of an endpoint that does not look into it. Raises MalformedJson."""
        if self.kind is not Kind.JSON:
            return
        try:
            msgspec.json.decode(self._json(), type=msgspec.Raw)
        except (ValueError, RecursionError):
            parse_json(self._json())

    def file(self) -> BinaryIO:
        """The body for an endpoint that stores it as it is.

        Raises Invalid if there is none, MalformedJson for one that is not what it says.
        """
        if self.kind is Kind.NONE:
            raise Invalid([Problem(("body",), "Invalid input: expected object, received null")])
        self.parse()
        self.content.seek(0)
        return self.content


def payload_of(method: str, content_type: str | None, length: int, content: BinaryIO) -> Payload:
    """The body of a request of ``length`` bytes. Raises :class:`UnsupportedMedia`.

    A type that is named has to be a known one even where no body follows.
    """
    if method in _BODILESS or (content_type is None and not length):
        return Payload(Kind.NONE, content)
    kind = _KINDS.get((content_type or "").partition(";")[0].strip().lower())
    if kind is None:
        raise UnsupportedMedia(content_type or None)
    return Payload(kind, content, empty_is_object=method not in _EMPTY_IS_NONE)
