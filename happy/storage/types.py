"""Values on their way into and out of PostgreSQL.

======================  ==========================================  ======================
column                  parameter                                   result
======================  ==========================================  ======================
``TIMESTAMP(3)``        :class:`Millis`                             ``int``, epoch ms, UTC
``BYTEA``               ``bytes``                                   ``bytes``
``JSONB``               :class:`Jsonb`                              ``str``, the JSON text
``TEXT[]``              :class:`Texts`, or a list                   a list
arrays of these         a list                                      a list
======================  ==========================================  ======================
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg2 import BINARY
from psycopg2.extensions import AsIs, QuotedString, new_array_type, new_type, register_adapter, register_type

_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
FIRST, LAST = ((end - _EPOCH) // _MILLISECOND for end in (datetime.min, datetime.max))
"""The times that stand for all before, and all after, which PostgreSQL can store."""

_TIMESTAMP, _TIMESTAMP_ARRAY = 1114, 1115
_BYTEA, _BYTEA_ARRAY = 17, 1001
_JSON, _JSON_ARRAY, _JSONB, _JSONB_ARRAY = 114, 199, 3802, 3807


class Millis(int):
    """Epoch milliseconds that go out as a ``TIMESTAMP(3)`` in UTC."""


class Jsonb:
    """A value that goes out as ``JSONB``, encoded by msgspec; a ``msgspec.Raw`` goes out as it is.

    ``text`` is its encoding.
    """

    __slots__ = ("_quoted", "text")

    def __init__(self, value: Any) -> None:
        self.text = msgspec.json.encode(value).decode()
        self._quoted = QuotedString(self.text)

    def __conform__(self, protocol: object) -> Jsonb:
        return self

    def prepare(self, connection: Any) -> None:
        self._quoted.prepare(connection)

    def getquoted(self) -> bytes:
        quoted: bytes = self._quoted.getquoted()
        return quoted + b"::jsonb"


class Texts(list[str | None]):
    """Texts that go out as a ``TEXT[]`` in one literal: the cheaper way from some eight of them on.

    As a list each of them is an expression, which the driver makes, and PostgreSQL works out, one by one.
    """


class _TextsLiteral:
    """What stands in a statement for :class:`Texts`."""

    __slots__ = ("_quoted",)

    def __init__(self, texts: Texts) -> None:
        elements = [
            "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for text in texts
        ]
        self._quoted = QuotedString("{" + ",".join(elements) + "}")

    def prepare(self, connection: Any) -> None:
        self._quoted.prepare(connection)

    def getquoted(self) -> bytes:
        quoted: bytes = self._quoted.getquoted()
        return quoted


def format_timestamp(millis: int) -> str:
    """Epoch milliseconds as PostgreSQL writes a timestamp; raises OverflowError past the year 9999."""
    return (_EPOCH + timedelta(milliseconds=millis)).isoformat(" ", "milliseconds")


def parse_timestamp(text: str) -> int:
    """A timestamp in PostgreSQL's ISO style, taken as UTC, in epoch milliseconds.

    One before the year 1 is :data:`FIRST`, one after 9999 is :data:`LAST`, infinite ones are among them.
    """
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except ValueError:
        return FIRST if text.startswith("-") or text.endswith("BC") else LAST


def _to_millis(text: str | None, cursor: Any) -> int | None:
    return None if text is None else parse_timestamp(text)


def _to_bytes(text: str | None, cursor: Any) -> bytes | None:
    return None if text is None else bytes(BINARY(text, cursor))


def _to_text(text: str | None, cursor: Any) -> str | None:
    return text


_MILLIS = new_type((_TIMESTAMP,), "MILLIS", _to_millis)
_BYTES = new_type((_BYTEA,), "BYTES", _to_bytes)
_RAW_JSON = new_type((_JSON, _JSONB), "RAWJSON", _to_text)
_CASTS = (
    _MILLIS,
    _BYTES,
    _RAW_JSON,
    new_array_type((_TIMESTAMP_ARRAY,), "MILLISARRAY", _MILLIS),
    new_array_type((_BYTEA_ARRAY,), "BYTESARRAY", _BYTES),
    new_array_type((_JSON_ARRAY, _JSONB_ARRAY), "RAWJSONARRAY", _RAW_JSON),
)

# psycopg2 looks up adapters by type for the whole process; the types are ours, so nobody else is affected.
register_adapter(Texts, _TextsLiteral)
register_adapter(Millis, lambda millis: AsIs(f"'{format_timestamp(millis)}'::timestamp"))


def register_casts(connection: Any) -> None:
    """Make results of this psycopg2 connection come back as the table above says."""
    for cast in _CASTS:
        register_type(cast, connection)
