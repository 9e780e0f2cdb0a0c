"""When the data was last saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

TABLE = """
SELECT to_regclass('"happy_backups"') IS NOT NULL
"""

LAST = """
SELECT "finishedAt" FROM "happy_backups"
"""

RECORD = """
INSERT INTO "happy_backups" ("finishedAt", "bytes") VALUES (%(now)s, %(bytes)s)
ON CONFLICT ((true)) DO UPDATE SET "finishedAt" = EXCLUDED."finishedAt", "bytes" = EXCLUDED."bytes"
"""


async def recorded(tx: Transaction) -> bool:
    """Whether the database has a place for it."""
    row = await tx.row(TABLE)
    return bool(row and row[0])


async def last(tx: Transaction) -> int | None:
    """When the last backup was finished, in epoch milliseconds."""
    row = await tx.row(LAST)
    return None if row is None else int(row[0])


async def record(tx: Transaction, size: int) -> None:
    """A backup of so many bytes was made and proven."""
    await tx.run(RECORD, {"now": tx.now, "bytes": size})
