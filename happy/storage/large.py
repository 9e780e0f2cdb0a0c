"""Values whose size clients decide: measured before they are read, and read in slices.

A statement that :meth:`Table.measured` makes finds out how large the contents of its rows are, which needs
none of them to be read, and answers the contents only when all of them together are within :data:`ROOM`.
Nearly all lists are. Of one that is not, each content is a :class:`Large` instead, and whoever wants it reads
a few rows again by their ids, or a single value slice by slice. So no result is larger than about
:data:`ROOM`, neither in PostgreSQL's answer nor in the driver's buffers, which never shrink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from happy.base.errors import ChangedMeanwhile

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

Row = TypeVar("Row", bound=NamedTuple)

ROOM: Final = 1024 * 1024
"""Bytes of contents that a statement answers at most."""

SLICE: Final = 3 * 256 * 1024
"""Bytes of one slice; base64 needs no rest of it for the next one."""


class Kind(Enum):
    """How a column holds a value. Its slices are bytes of UTF-8, of the value itself, or of JSON text."""

    TEXT = "text"
    BYTES = "bytes"
    JSON = "json"


class Column(NamedTuple):
    """A column with such values; ``version`` counts its changes, None for one that never changes."""

    name: str
    kind: Kind
    version: str | None = None

    @property
    def size(self) -> str:
        """SQL for about how many bytes it holds, at least; reads nothing of them.

        The size of JSON is not known without reading it. Where it is compressed, so that the size on the
        disk says little, it counts as if it were compressed as far as that can be.
        """
        if self.kind is not Kind.JSON:
            return f"coalesce(octet_length({self.name}), 0)"
        return f"""coalesce(CASE pg_column_compression({self.name})
            WHEN 'pglz' THEN 90 * least(pg_column_size({self.name}), 4000000)
            WHEN 'lz4' THEN 256 * least(pg_column_size({self.name}), 4000000)
            ELSE pg_column_size({self.name})
        END, 0)"""

    @property
    def within_room(self) -> str:
        """SQL for the value if there is room for the whole result, and otherwise for something tiny."""
        tiny = {Kind.TEXT: "''", Kind.BYTES: "''::bytea", Kind.JSON: "'0'::jsonb"}[self.kind]
        fits = f'sum("size") OVER () <= %(room)s OR {self.name} IS NULL'
        return f"CASE WHEN {fits} THEN {self.name} ELSE {tiny} END AS {self.name}"

    @property
    def slice(self) -> str:
        """SQL for a slice of it, as bytes."""
        whole = {
            Kind.TEXT: f"convert_to({self.name}, 'UTF8')",
            Kind.BYTES: self.name,
            Kind.JSON: f"convert_to({self.name}::text, 'UTF8')",
        }[self.kind]
        return f"substr({whole}, %(start)s, {SLICE})"


class Large:
    """A stored value that is only read slice by slice. ``size`` is about what it has, in bytes."""

    __slots__ = ("_parameters", "_statement", "kind", "size")

    def __init__(self, kind: Kind, size: int, statement: str, parameters: Mapping[str, Any]) -> None:
        self.kind = kind
        self.size = size
        self._statement = statement
        self._parameters = parameters

    async def read(self, tx: Transaction, start: int) -> bytes:
        """The slice that begins at byte ``start``; one shorter than :data:`SLICE` is the last.

        Raises ChangedMeanwhile when the value is not the one that was measured.
        """
        row = await tx.row(self._statement, {**self._parameters, "start": start + 1})
        if row is None:
            raise ChangedMeanwhile
        found: bytes = row[0]
        return found


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows of a list, and about how many bytes of contents each has.

    Where it ends is said by a key, never by an offset: it costs what it answers, not what comes before.

    Of a page that is not ``whole``, the contents are :class:`Large`.
    """

    rows: list[Row]
    sizes: list[int]
    whole: bool

    @property
    def only(self) -> Row | None:
        """The first row, if there is one."""
        return self.rows[0] if self.rows else None

    def first(self, count: int) -> Page[Row]:
        """The page without what comes after ``count`` rows."""
        return self if len(self.rows) <= count else Page(self.rows[:count], self.sizes[:count], self.whole)


_MEMBERS: Final = itemgetter(slice(None, -1))
_SIZE: Final = itemgetter(-1)


class Table(Generic[Row]):
    """A table with such columns.

    ``columns``, as a statement names them, are those of a ``row`` in its order. The first one names a row
    among those that ``mine``, a condition with parameters of its own, is true of; a ``unique`` one among all.
    """

    def __init__(
        self,
        name: str,
        row: type[Row],
        columns: str,
        large: Sequence[Column],
        mine: str,
        *,
        unique: bool = True,
    ) -> None:
        self._name = name
        # As ``row._make``, which is written in Python and counts the members every time.
        self._make: Any = partial(tuple.__new__, row)
        self._columns = [column.strip() for column in columns.split(",")]
        self._large = large
        self._mine = mine
        self._unique = unique
        self._places = {column: self._columns.index(column.name) for column in large}
        self.again = self.measured(f"FROM {self._found('= ANY (%(ids)s::text[])')}")
        """Statement for the rows named by ``ids``, in any order."""
        self.slices = {column: self._slice(column) for column in large}

    @property
    def small(self) -> str:
        """The columns besides those with such values, as a statement names them."""
        large = {column.name for column in self._large}
        return ", ".join(name for name in self._columns if name not in large)

    def row(self, small: Sequence[Any], *values: Any) -> Row:
        """A row of the values of :attr:`small` columns, and of those of the others."""
        names = [column.name for column in self._large]
        others, given = iter(small), dict(zip(names, values, strict=True))
        row: Row = self._make([given[name] if name in given else next(others) for name in self._columns])
        return row

    def measured(self, source: str, order: str = "") -> str:
        """A statement for the rows of ``source`` with contents if there is room; ``order`` is as in there."""
        size = " + ".join(column.size for column in self._large)
        large = {column.name: column.within_room for column in self._large}
        columns = ", ".join(large.get(name, name) for name in self._columns)
        return f"""
SELECT {columns}, "size" FROM (SELECT {", ".join(self._columns)}, {size} AS "size" {source}) AS "page" {order}
"""

    def _found(self, named: str) -> str:
        """SQL for the rows with ids as ``named``, if they are mine.

        A planner that does not know how much is mine might else go through all of that.
        """
        rows = f"SELECT * FROM {self._name} WHERE {self._columns[0]} {named}"
        if self._unique:
            return f'({rows} OFFSET 0) AS "found" WHERE {self._mine}'
        return f'({rows} AND {self._mine}) AS "found" WHERE true'

    def _slice(self, column: Column) -> str:
        version = "" if column.version is None else f" AND {column.version} = %(version)s"
        return f"""
SELECT {column.slice} FROM {self._found("= %(id)s")}{version} AND {column.name} IS NOT NULL
"""

    async def page(self, tx: Transaction, statement: str, parameters: Mapping[str, Any]) -> Page[Row]:
        """The answer to a statement that :meth:`measured` made."""
        return self.paged(await tx.rows(statement, {**parameters, "room": ROOM}), parameters)

    async def named(self, tx: Transaction, ids: Sequence[str], parameters: Mapping[str, Any]) -> Page[Row]:
        """Those rows that exist, in the order of their ids as given."""
        rows = await tx.rows(self.again, {**parameters, "ids": list(ids), "room": ROOM})
        place = {name: place for place, name in enumerate(ids)}
        return self.paged(sorted(rows, key=lambda row: place[row[0]]), parameters)

    def paged(self, found: Sequence[tuple[Any, ...]], parameters: Mapping[str, Any]) -> Page[Row]:
        """The rows of such an answer, ``parameters`` those that ``mine`` has."""
        sizes, make = list(map(_SIZE, found)), self._make
        if sum(sizes) <= ROOM:
            return Page(list(map(make, map(_MEMBERS, found))), sizes, True)
        return Page([make(self._bare(row, parameters)) for row in found], sizes, False)

    def _bare(self, row: tuple[Any, ...], parameters: Mapping[str, Any]) -> list[Any]:
        """The row with what its contents are to be read by."""
        *members, size = row
        for column, place in self._places.items():
            if members[place] is not None:
                version = None if column.version is None else row[self._columns.index(column.version)]
                named = {**parameters, "id": row[0], "version": version}
                members[place] = Large(column.kind, size, self.slices[column], named)
        return members
