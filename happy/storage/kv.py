"""The key-value store of an account: versioned values, and tombstones that keep counting.

A deleted entry keeps its row with a null value: readers do not see it, its version goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid
from happy.storage.large import Column, Kind, Page, Table

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

ABSENT = -1
"""The version of a key that was never written; the first version is 0."""


class Entry(NamedTuple):
    """A key that has a value."""

    key: str
    value: bytes
    version: int


class LockedRow(NamedTuple):
    """A key that was ever written; ``value`` is None for a deleted one."""

    key: str
    value: bytes | None
    version: int


class Slot(NamedTuple):
    """What is stored under a key: ``value`` is None for a deleted one."""

    value: bytes | None
    version: int


_COLUMNS = '"key", "value", "version"'
_VALUE = Column('"value"', Kind.BYTES, '"version"')
_MINE = '"accountId" = %(account)s'

_ENTRIES = Table('"UserKVStore"', Entry, _COLUMNS, [_VALUE], f'{_MINE} AND "value" IS NOT NULL', unique=False)
_LOCKED = Table('"UserKVStore"', LockedRow, _COLUMNS, [_VALUE], _MINE, unique=False)

_EXISTING = f'FROM "UserKVStore" WHERE {_MINE} AND "value" IS NOT NULL'
_BY_KEY = 'ORDER BY "key"'

GET = _ENTRIES.measured(f'{_EXISTING} AND "key" = %(key)s')

LIST = _ENTRIES.measured(f'{_EXISTING} AND "key" ^@ %(prefix)s {_BY_KEY} LIMIT %(limit)s', _BY_KEY)

GET_SEVERAL = _ENTRIES.measured(f'{_EXISTING} AND "key" = ANY (%(keys)s::text[]) {_BY_KEY}', _BY_KEY)

NAMED = _ENTRIES.again

LOCK = _LOCKED.measured(
    f'FROM "UserKVStore" WHERE {_MINE} AND "key" = ANY (%(keys)s::text[]) {_BY_KEY} FOR NO KEY UPDATE'
)

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
    """The entry under a key; a very large one has its value as :class:`Large`."""
    return (await _ENTRIES.page(tx, GET, {"account": account, "key": key})).only


async def entries(tx: Transaction, account: str, prefix: str, limit: int) -> Page[Entry]:
    """At most ``limit`` entries whose key starts with ``prefix``, by key."""
    return await _ENTRIES.page(tx, LIST, {"account": account, "prefix": prefix, "limit": limit})


async def get_several(tx: Transaction, account: str, keys: Collection[str]) -> Page[Entry]:
    """The entries under those of the keys that have one, each once, by key."""
    return await _ENTRIES.page(tx, GET_SEVERAL, {"account": account, "keys": list(keys)})


async def named(tx: Transaction, account: str, keys: Sequence[str]) -> Page[Entry]:
    """The entries under those of the keys that have one, in their order."""
    return await _ENTRIES.named(tx, keys, {"account": account})


async def lock(tx: Transaction, account: str, keys: Collection[str]) -> dict[str, Slot]:
    """What is stored under those of the keys that were ever written, kept from others in this transaction.

    Values that are very large together are :class:`~happy.storage.large.Large`.
    """
    found = await _LOCKED.page(tx, LOCK, {"account": account, "keys": list(keys)})
    return {key: Slot(value, version) for key, value, version in found.rows}


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
