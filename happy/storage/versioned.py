"""Compare-and-set on a version column (http.md 5): one conditional update, and a look at the winner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class Versioned(NamedTuple):
    """A value and its version as they are stored now; ``changed`` if they are the caller's."""

    version: int
    value: str | None
    changed: bool


async def compare_and_set(
    tx: Transaction, update: str, current: str, parameters: Mapping[str, Any]
) -> Versioned | None:
    """Store ``parameters["value"]`` where the stored version is ``parameters["expected"]``.

    ``update`` returns the new version if it matched a row; ``current`` the stored version and value.
    None when there is no such row. ``expected`` may be any number: one that is no version never matches.
    A value that no column holds is only looked at where it would be stored.
    """
    if "\0" in (parameters["value"] or ""):
        stored = await _stored(tx, current, parameters)
        if stored is None or stored.version != parameters["expected"]:
            return stored
    if (row := await tx.row(update, parameters)) is not None:
        return Versioned(row[0], parameters["value"], changed=True)
    return await _stored(tx, current, parameters)


async def _stored(tx: Transaction, current: str, parameters: Mapping[str, Any]) -> Versioned | None:
    row = await tx.row(current, parameters)
    return None if row is None else Versioned(row[0], row[1], changed=False)
