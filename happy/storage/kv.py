"""The key-value store of an account: versioned values, and tombstones that keep counting.

A deleted entry keeps its row with a null value: readers do not see it, its version goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from happy.ids import cuid

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

ABSENT = -1
"""The version of a key that was never written; the first version is 0."""


class Entry(NamedTuple):
    """A key that has a value."""

    key: str
    value: bytes
    version: int


class Slot(NamedTuple):
    """What is stored under a key: ``value`` is None for a deleted one."""

    value: bytes | None
    version: int


GET = """
SELECT "key", "value", "version" FROM "UserKVStore"
WHERE "accountId" = %(account)s AND "key" = %(key)s AND "value" IS NOT NULL
"""

LIST = """
SELECT "key", "value", "version" FROM "UserKVStore"
WHERE "accountId" = %(account)s AND "key" ^@ %(prefix)s AND "value" IS NOT NULL
ORDER BY "key" LIMIT %(limit)s
"""

GET_SEVERAL = """
SELECT "key", "value", "version" FROM "UserKVStore"
WHERE "accountId" = %(account)s AND "key" = ANY (%(keys)s::text[]) AND "value" IS NOT NULL
ORDER BY "key"
"""

LOCK = """
SELECT "key", "value", "version" FROM "UserKVStore"
WHERE "accountId" = %(account)s AND "key" = ANY (%(keys)s::text[])
ORDER BY "key" FOR NO KEY UPDATE
"""

# A row that another writer made or changed since it was looked at does not have the version before ours;
# it is left alone and does not come back.
WRITE = """
INSERT INTO "UserKVStore" AS stored ("id", "accountId", "key", "value", "version", "createdAt", "updatedAt")
SELECT new."id", %(account)s, new."key", new."value", new."version", %(now)s, %(now)s
FROM unnest(%(ids)s::text[], %(keys)s::text[], %(values)s::bytea[], %(versions)s::integer[])
    AS new ("id", "key", "value", "version")
ON CONFLICT ("accountId", "key") DO UPDATE
SET "value" = EXCLUDED."value", "version" = EXCLUDED."version", "updatedAt" = EXCLUDED."updatedAt"
WHERE stored."version" = EXCLUDED."version" - 1
RETURNING "key"
"""


async def get(tx: Transaction, account: str, key: str) -> Entry | None:
    """The entry under a key."""
    row = await tx.row(GET, {"account": account, "key": key})
    return None if row is None else Entry._make(row)


async def entries(tx: Transaction, account: str, prefix: str, limit: int) -> list[Entry]:
    """At most ``limit`` entries whose key starts with ``prefix``, by key."""
    rows = await tx.rows(LIST, {"account": account, "prefix": prefix, "limit": limit})
    return [Entry._make(row) for row in rows]


async def get_several(tx: Transaction, account: str, keys: Collection[str]) -> list[Entry]:
    """The entries under those of the keys that have one, each once, by key."""
    rows = await tx.rows(GET_SEVERAL, {"account": account, "keys": list(keys)})
    return [Entry._make(row) for row in rows]


async def lock(tx: Transaction, account: str, keys: Collection[str]) -> dict[str, Slot]:
    """What is stored under those of the keys that were ever written, kept from others in this transaction."""
    rows = await tx.rows(LOCK, {"account": account, "keys": list(keys)})
    return {key: Slot(value, version) for key, value, version in rows}


async def write(tx: Transaction, account: str, slots: Mapping[str, Slot]) -> set[str]:
    """Store slots whose versions are the ones after those stored; answers the keys of which that is not so.

    If there are any, the transaction has to be rolled back.
    """
    parameters = {
        "account": account,
        "ids": [cuid(tx.now) for _ in slots],
        "keys": list(slots),
        "values": [slot.value for slot in slots.values()],
        "versions": [slot.version for slot in slots.values()],
        "now": tx.now,
    }
    written = await tx.rows(WRITE, parameters)
    return slots.keys() - {key for (key,) in written}
