"""Values that are too large for one statement go ahead of it, in pieces.

The driver and libpq copy a statement several times in one go, which takes half a second for 60 MB, and the
reactor waits meanwhile. So what is large is put into a temporary table of the transaction, a piece a
statement, and stands in the statement as a query that puts it together.
"""

from __future__ import annotations

from codecs import iterdecode
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from happy.storage.types import Jsonb, Texts

Parameters = Sequence[Any] | Mapping[str, Any]

LARGE: Final = 2**20
"""Characters or bytes of a value, or of all that a list holds, above which it is sent ahead."""

PIECE: Final = 2**18
"""Characters or bytes of a piece: some two milliseconds of the driver's time."""

MAKE_ROOM = """
SET LOCAL statement_timeout = '60s';
CREATE TEMPORARY TABLE "happy_pieces" (
    "value" INTEGER, "element" INTEGER, "part" INTEGER, "text" TEXT, "bytes" BYTEA
) ON COMMIT DROP;
ALTER TABLE "happy_pieces" ALTER "text" SET STORAGE EXTERNAL, ALTER "bytes" SET STORAGE EXTERNAL
"""

SECONDS: Final = 70.0
"""How long a statement with such a value may take; a little more than the server's own limit."""

ADD = """INSERT INTO pg_temp."happy_pieces" ("value", "element", "part", "{column}")
SELECT * FROM unnest(%s::integer[], %s::integer[], %s::integer[], %s::{kind}[])"""

_WHOLE = """(SELECT string_agg("{column}", ''::{kind} ORDER BY "part") FROM pg_temp."happy_pieces"
 WHERE "value" = {number})"""
_LIST = """ARRAY(SELECT string_agg("{column}", ''::{kind} ORDER BY "part") FROM pg_temp."happy_pieces"
 WHERE "value" = {number} GROUP BY "element" ORDER BY "element")"""


class InPieces:
    """A large text, which is never there as a whole.

    ``portions`` are its UTF-8, written anew whenever they are asked for. Its length is at least so many
    characters: above :data:`LARGE` it can be a parameter, in a list.
    """

    __slots__ = ("_size", "portions")

    def __init__(self, size: int, portions: Callable[[], Iterator[bytes]]) -> None:
        self._size = size
        self.portions = portions

    def __len__(self) -> int:
        return self._size


class _Ahead:
    """What stands in a statement for the value that was sent ahead under a number."""

    __slots__ = ("_query",)

    def __init__(self, query: str) -> None:
        self._query = query

    def __conform__(self, protocol: object) -> _Ahead:
        return self

    def getquoted(self) -> bytes:
        return self._query.encode()


def any_large(params: Parameters) -> bool:
    """Whether something among the parameters is too large to be sent with the statement."""
    for value in params.values() if isinstance(params, dict) else params:
        kind = type(value)
        if kind is str:  # most are
            if len(value) > LARGE:
                return True
        elif (kind is list or kind is Texts or kind is bytes or kind is Jsonb) and _is_large(value):
            return True
    return False


def _is_large(value: Any) -> bool:
    if isinstance(value, list):
        return sum(len(element) for element in value if isinstance(element, str | bytes | InPieces)) > LARGE
    if isinstance(value, Jsonb):
        return len(value.text) > LARGE
    return isinstance(value, str | bytes) and len(value) > LARGE


class SentAhead:
    """What one transaction sends ahead."""

    def __init__(self) -> None:
        self._count = 0

    def split(self, params: Parameters) -> tuple[Parameters, Iterator[tuple[str, tuple[Any, ...]]]]:
        """The parameters as they go with the statement, and the statements that go before it."""
        values = list(params.values() if isinstance(params, Mapping) else params)
        ahead: list[Iterator[tuple[str, tuple[Any, ...]]]] = []
        for place, value in enumerate(values):
            if _is_large(value):
                self._count += 1
                values[place] = _stand_in(value, self._count)
                ahead.append(_statements(value, self._count))
        small = dict(zip(params, values, strict=True)) if isinstance(params, Mapping) else values
        return small, chain.from_iterable(ahead)


def _stand_in(value: Any, number: int) -> _Ahead:
    query = (_LIST if isinstance(value, list) else _WHOLE).format(number=number, **_column(value))
    return _Ahead(f"{query}::jsonb" if isinstance(value, Jsonb) else query)


def _statements(value: Any, number: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    sql = ADD.format(**_column(value))
    elements = value if isinstance(value, list) else [value.text if isinstance(value, Jsonb) else value]
    rows: list[tuple[int, int, str | bytes | None]] = []
    size = 0
    for element, whole in enumerate(elements):
        for part, piece in enumerate(_cut(whole)):
            rows.append((element, part, piece))
            size += len(piece or "")
            if size >= PIECE:
                yield sql, _columns(number, rows)
                rows, size = [], 0
    if rows:
        yield sql, _columns(number, rows)


def _column(value: Any) -> dict[str, str]:
    """Where the pieces of a value are kept, and as what."""
    elements = value if isinstance(value, list) else [value]
    if any(isinstance(element, bytes) for element in elements):
        return {"column": "bytes", "kind": "bytea"}
    return {"column": "text", "kind": "text"}


def _columns(number: int, rows: list[tuple[int, int, str | bytes | None]]) -> tuple[Any, ...]:
    return ([number] * len(rows), *map(list, zip(*rows, strict=True)))


def _cut(value: Any) -> Iterator[Any]:
    """A value's pieces; one that is empty, or null, has one."""
    if isinstance(value, InPieces):
        yield from iterdecode(value.portions(), "utf-8")
        return
    if not value:
        yield value
        return
    for start in range(0, len(value), PIECE):
        yield value[start : start + PIECE]
