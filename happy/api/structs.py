"""The boundary between bytes and typed values: what requests and answers are made of.

Requests are declared as Structs and decoded here, once; behind this module nothing is re-checked.
A request that does not fit is explained completely: the typed decoder is fast but stops at the first
fault, so :mod:`happy.api.validation` then looks at the generic value again and lists every problem
in the contract's words (http.md 3.4).

A member that may be absent is ``X | UnsetType = UNSET``; one that may be null is ``X | None``. Unknown
members are ignored. A Struct may check itself as a whole in ``__post_init__`` by raising ValueError
with the text of the problem. Whole numbers are declared as :data:`Integer` or one of its kin, which
stay within what clients represent exactly; an integral float (``1.0``) is a whole number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, dataclass_transform

import msgspec
from msgspec import Meta, Struct, StructMeta

from happy.api import validation
from happy.api.described import LONGEST_KEY, counts_utf16, member_names
from happy.api.query import coerce_texts, gather
from happy.api.validation import SAFE, UUID_PATTERN, Invalid, Problem
from happy.wire.complexity import TooComplex, check_complexity
from happy.wire.surrogates import has_lone, mark_surrogates, mend_surrogates, unmark_surrogates

__all__ = [
    "SAFE",
    "Base64",
    "Blob",
    "Body",
    "EpochSeconds",
    "Headers",
    "Integer",
    "Invalid",
    "Key",
    "LenientBase64",
    "MalformedJson",
    "NamedFile",
    "NonEmpty",
    "NonNegative",
    "Number",
    "PlainText",
    "Positive",
    "Problem",
    "Query",
    "Redirect",
    "Reply",
    "Size200",
    "Size500",
    "Timestamp",
    "Uuid",
    "decode_body",
    "decode_headers",
    "decode_query",
    "decode_value",
    "decode_variables",
    "encode",
    "parse_json",
    "stands_for",
]

T = TypeVar("T")

_MOST_DIGITS: Final = 400
"""More than any finite number of a client has."""

Integer = Annotated[int, Meta(ge=-SAFE, le=SAFE)]
"""A whole number that clients represent exactly."""
NonNegative = Annotated[int, Meta(ge=0, le=SAFE)]
Positive = Annotated[int, Meta(gt=0, le=SAFE)]
Number = int | float
"""Any number, kept as it was written."""
Key = Annotated[str, Meta(max_length=LONGEST_KEY)]
"""What a client calls something by."""
NonEmpty = Annotated[str, Meta(min_length=1, max_length=LONGEST_KEY)]
"""A :data:`Key` that is one."""
Size200 = Annotated[str, Meta(min_length=1, max_length=200)]
"""1 to 200 UTF-16 code units; every ``max_length`` of a text counts those."""
Size500 = Annotated[str, Meta(min_length=1, max_length=500)]
Uuid = Annotated[str, Meta(pattern=UUID_PATTERN)]
"""A UUID of versions 1-8 with RFC variant bits, all zeros or all ones; any case."""

Timestamp = Annotated[int, Meta(description="Milliseconds since the epoch.")]
EpochSeconds = Annotated[int, Meta(description="Seconds since the epoch.")]
Base64 = Annotated[str, Meta(description="Standard base64.", extra_json_schema={"contentEncoding": "base64"})]
"""Bytes as the server writes them, padded; in requests the padding may be missing (http.md 2, STRICT)."""
LenientBase64 = Annotated[str, Meta(description="Base64; what is none is skipped.", max_length=LONGEST_KEY)]
"""A key in standard or URL-safe base64 (http.md 2, LENIENT)."""


def stands_for(shape: Any) -> Meta:
    """Annotates what is typed loosely with the shape that well-behaved peers give it.

    Decoding and encoding do not look at it; the published contract does. A member may be absent if
    ``shape`` admits ``UnsetType``, whatever its default is.
    """
    return Meta(extra={"shape": shape})


class _ByName(StructMeta):
    """Struct types that are frozen and take their members by name, subclasses included."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> _ByName:
        return super().__new__(mcls, name, bases, namespace, **({"frozen": True, "kw_only": True} | options))


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _Declared(Struct, frozen=True, kw_only=True, metaclass=_ByName):
    """What all declared shapes have in common."""


class Body(_Declared, rename="camel"):
    """A JSON object of a request or of an event's data argument."""


class Query(_Declared, rename="camel"):
    """Query parameters; pass ``rename=None`` for an endpoint that spells them in snake case."""


class Headers(_Declared, rename="kebab"):
    """Request headers: ``x_github_event`` is taken from ``x-github-event``."""


class Reply(_Declared, rename="camel"):
    """A JSON object that answers a request or acknowledges an event."""

    status: ClassVar[int] = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """An empty answer that points elsewhere."""

    location: str
    status: int = 302


@dataclass(frozen=True, slots=True)
class PlainText:
    """An answer of plain text."""

    text: str
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes that are streamed as fast as the client reads, never held in memory.

    Either ``path`` names a file, or ``chunks`` yields the bytes; ``length`` is their number, taken
    from the file where it is not given, and ``None`` for chunks of unknown total. ``ranges`` lets
    clients of a file ask for parts of it. ``headers`` are added to the answer. ``shelf`` is where the file
    is: those of each are read by threads of their own, since they may be on different file systems.
    """

    path: Path | None = None
    chunks: Iterable[bytes] | None = None
    length: int | None = None
    content_type: str | None = "application/octet-stream"
    ranges: bool = False
    shelf: Literal["files", "pages"] = "files"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile(Blob):
    """A file whose name says what it holds, and of which clients may ask for parts."""

    ranges: bool = True


class MalformedJson(ValueError):
    """A text that is not JSON; ``str()`` says why."""


def encode(value: Any) -> bytes:
    """``value`` as JSON. Structs, plain values and ``msgspec.Raw`` may be nested at will."""
    return msgspec.json.encode(value)


def decode_body(shape: type[T], raw: bytes | msgspec.Raw) -> T:
    """The JSON text ``raw`` as ``shape``.

    Raises :class:`MalformedJson` for a text that is not JSON, is not UTF-8 or nests too deeply, and
    :class:`Invalid` with all problems for one that does not fit. An escaped lone surrogate counts
    as U+FFFD, but stays in members of type ``Raw``.
    """
    try:
        value = msgspec.json.decode(raw, type=shape)
    except (ValueError, RecursionError):
        return _as_it_came(decode_value(shape, parse_json(raw)), bytes(raw))
    if counts_utf16(shape):
        validation.check(shape, msgspec.to_builtins(value), "body")
    return value


def _as_it_came(value: T, text: bytes) -> T:
    """The value of a text that had to be mended, with ``Raw`` members that were not: they are passed on."""
    passed = [
        name
        for name in getattr(value, "__struct_fields__", ())
        if isinstance(getattr(value, name), msgspec.Raw)
    ]
    marked = mark_surrogates(text) if passed else None
    if marked is None:
        return value
    try:
        again = msgspec.json.decode(marked, type=type(value))
    except ValueError:
        return value
    parts = {name: msgspec.Raw(unmark_surrogates(bytes(getattr(again, name)))) for name in passed}
    return msgspec.structs.replace(value, **parts)  # type: ignore[type-var]  # what has such fields is a Struct


def decode_value(shape: type[T], value: Any, group: str = "body") -> T:
    """A plain value, as :func:`parse_json` returns it, as ``shape``. Raises :class:`Invalid`."""
    fitted = validation.check(shape, value, group)
    try:
        return msgspec.json.decode(msgspec.json.encode(fitted), type=shape)
    except msgspec.ValidationError as fault:
        raise Invalid([validation.foreign_problem(group, fault)]) from None


def parse_json(raw: bytes | msgspec.Raw) -> Any:
    """The JSON text ``raw`` as plain values. Raises :class:`MalformedJson`, also for what is too complex."""
    text = bytes(raw)
    try:
        check_complexity(text)
        return msgspec.json.decode(text)
    except TooComplex as reason:
        raise MalformedJson(str(reason)) from None
    except UnicodeDecodeError:
        raise MalformedJson("JSON is not valid UTF-8") from None
    except msgspec.DecodeError as fault:
        mended = mend_surrogates(text)
        if mended == text:
            if "out of range" not in str(fault) or has_lone(text):  # more of them than are mended
                raise MalformedJson(str(fault)) from None
            return _parse_wide(text)
    return parse_json(mended)


def _parse_wide(raw: bytes) -> Any:
    """As :func:`parse_json`, for a text with numbers beyond those of floats, which become infinite."""

    def refuse(constant: str) -> Any:
        raise MalformedJson(f"{constant} is not JSON")

    try:
        return json.loads(raw.decode(), parse_int=_whole_number, parse_constant=refuse)
    except ValueError as fault:
        raise MalformedJson(str(fault)) from None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def decode_query(shape: type[T], pairs: Iterable[tuple[str, str]]) -> T:
    """Query parameters as ``shape``; raises :class:`Invalid`.

    Numbers are coerced from text; a parameter given more than once is a list and fits no scalar.
    """
    return decode_value(shape, coerce_texts(shape, gather(pairs)), "querystring")


def decode_headers(shape: type[T], header: Callable[[str], str | None]) -> T:
    """The headers that ``shape`` names, each taken with ``header(name)``; raises :class:`Invalid`."""
    found = {name: header(name) for name in member_names(shape)}
    return decode_value(shape, {name: text for name, text in found.items() if text is not None}, "headers")


def decode_variables(shapes: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Path variables, each as the type that ``shapes`` names for it; raises :class:`Invalid`."""
    values = dict(variables)
    problems: list[Problem] = []
    for name, shape in shapes.items():
        if shape is not str:
            try:
                validation.check(shape, variables[name], "params", name)
            except Invalid as misfit:
                problems += misfit.problems
    if problems:
        raise Invalid(problems)
    return values
