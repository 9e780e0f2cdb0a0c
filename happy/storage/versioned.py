"""Compare-and-set on a version column (http.md 5): one conditional update, and a look at the winner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from happy.storage.large import Column, Kind, Large, Table

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class StoredRow(NamedTuple):
    """A value and its version; ``id`` names the row they are in."""

    id: str
    version: int
    value: str | Large | None


class Versioned(NamedTuple):
    """A value and its version as they are stored now; ``changed`` if they are the caller's."""

    version: int
    value: str | Large | None
    changed: bool


def stored_values(
    table: str, id: str, value: str, version: str, mine: str, *, unique: bool = True
) -> Table[StoredRow]:
    """A text column as :func:`compare_and_set` looks at it; arguments as of :class:`Table`."""
    column = Column(value, Kind.TEXT, version)
    return Table(table, StoredRow, f"{id}, {version}, {value}", [column], mine, unique=unique)


async def compare_and_set(
    tx: Transaction, update: str, current: Table[StoredRow], id: str, parameters: Mapping[str, Any]
) -> Versioned | None:
    """Store ``parameters["value"]`` where the stored version is ``parameters["expected"]``.

    ``update`` returns the new version if it matched a row; in ``current`` its row is the one with the ``id``.
    None when there is no such row. ``expected`` may be any number: one that is no version never matches.
    A value that no column holds is only looked at where it would be stored.
    """
    if "\0" in (parameters["value"] or ""):
        stored = await _stored(tx, current, id, parameters)
        if stored is None or stored.version != parameters["expected"]:
            return stored
    if (row := await tx.row(update, parameters)) is not None:
        return Versioned(row[0], parameters["value"], changed=True)
    return await _stored(tx, current, id, parameters)


async def _stored(
    tx: Transaction, current: Table[StoredRow], id: str, parameters: Mapping[str, Any]
) -> Versioned | None:
    found = (await current.named(tx, [id], parameters)).only
    return None if found is None else Versioned(found.version, found.value, changed=False)
