"""Machines: registered under an id of their own choosing, changed by version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage.large import Column, Kind, Page, Table
from happy.storage.versioned import Versioned, compare_and_set, stored_values

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class MachineRow(NamedTuple):
    """A machine; times are epoch milliseconds."""

    id: str
    metadata: str
    metadata_version: int
    daemon_state: str | None
    daemon_state_version: int
    data_encryption_key: bytes | None
    seq: int
    active: bool
    active_at: int
    created_at: int
    updated_at: int


_COLUMNS = """
    "id", "metadata", "metadataVersion", "daemonState", "daemonStateVersion", "dataEncryptionKey",
    "seq", "active", "lastActiveAt", "createdAt", "updatedAt"
"""

_MINE = '"accountId" = %(account)s'

_TABLE = Table(
    '"Machine"',
    MachineRow,
    _COLUMNS,
    [
        Column('"metadata"', Kind.TEXT, '"metadataVersion"'),
        Column('"daemonState"', Kind.TEXT, '"daemonStateVersion"'),
        Column('"dataEncryptionKey"', Kind.BYTES),
    ],
    _MINE,
)

CREATE = f"""
INSERT INTO "Machine" (
    "id", "accountId", "metadata", "metadataVersion", "daemonState", "daemonStateVersion",
    "dataEncryptionKey", "active", "lastActiveAt", "createdAt", "updatedAt"
)
VALUES (
    %(id)s, %(account)s, %(metadata)s, 1, %(state)s, %(state_version)s,
    %(key)s, false, %(now)s, %(now)s, %(now)s
)
ON CONFLICT DO NOTHING
RETURNING {_TABLE.small}
"""

BY_ID = _TABLE.measured('FROM "Machine" WHERE "accountId" = %(account)s AND "id" = %(id)s')

_LATEST = 'ORDER BY "lastActiveAt" DESC, "id"'

RECENTLY_ACTIVE = _TABLE.measured(
    f'FROM "Machine" WHERE "accountId" = %(account)s {_LATEST} LIMIT %(limit)s', _LATEST
)

NAMED = _TABLE.again

SET_METADATA = """
UPDATE "Machine"
SET "metadata" = %(value)s, "metadataVersion" = "metadataVersion" + 1, "updatedAt" = %(now)s
WHERE "accountId" = %(account)s AND "id" = %(id)s AND "metadataVersion" = %(expected)s
RETURNING "metadataVersion"
"""

_METADATA = stored_values('"Machine"', '"id"', '"metadata"', '"metadataVersion"', _MINE)

SET_DAEMON_STATE = """
UPDATE "Machine"
SET "daemonState" = %(value)s, "daemonStateVersion" = "daemonStateVersion" + 1,
    "active" = true, "lastActiveAt" = greatest("lastActiveAt", %(now)s), "updatedAt" = %(now)s
WHERE "accountId" = %(account)s AND "id" = %(id)s AND "daemonStateVersion" = %(expected)s
RETURNING "daemonStateVersion"
"""

_DAEMON_STATE = stored_values('"Machine"', '"id"', '"daemonState"', '"daemonStateVersion"', _MINE)

DELETE_ACCESS_KEYS = """
DELETE FROM "AccessKey" WHERE "accountId" = %(account)s AND "machineId" = %(id)s
"""

DELETE = """
DELETE FROM "Machine" WHERE "accountId" = %(account)s AND "id" = %(id)s
"""


async def get_or_create(
    tx: Transaction,
    account: str,
    machine: str,
    *,
    metadata: str,
    daemon_state: str | None,
    data_encryption_key: bytes | None,
) -> tuple[MachineRow, bool] | None:
    """The account's machine with the id, and whether it is new; an existing one stays as it is.

    None when the id is another account's. A stored one that is very large has its contents as
    :class:`~happy.storage.large.Large`.
    """
    parameters = {
        "id": machine,
        "account": account,
        "metadata": metadata,
        "state": daemon_state,
        "state_version": 0 if daemon_state is None else 1,
        "key": data_encryption_key,
        "now": tx.now,
    }
    found = await find(tx, account, machine)
    if found is None and (created := await tx.row(CREATE, parameters)) is not None:
        return _TABLE.row(created, metadata, daemon_state, data_encryption_key), True
    found = found or await find(tx, account, machine)
    return found and (found, False)


async def find(tx: Transaction, account: str, machine: str) -> MachineRow | None:
    """The account's machine with the id; a very large one has its contents as :class:`Large`."""
    return (await _TABLE.page(tx, BY_ID, {"account": account, "id": machine})).only


async def named(tx: Transaction, account: str, ids: Sequence[str]) -> Page[MachineRow]:
    """Those of the machines that are there and the account's, in the order of ``ids``."""
    return await _TABLE.named(tx, ids, {"account": account})


async def recently_active(tx: Transaction, account: str, limit: int) -> Page[MachineRow]:
    """At most ``limit`` machines, the latest sign of life first."""
    return await _TABLE.page(tx, RECENTLY_ACTIVE, {"account": account, "limit": limit})


async def set_metadata(
    tx: Transaction, account: str, machine: str, metadata: str, expected: float
) -> Versioned | None:
    """Compare-and-set of the metadata; None for a machine not owned."""
    parameters = {
        "account": account,
        "id": machine,
        "value": metadata,
        "expected": expected,
        "now": tx.now,
    }
    return await compare_and_set(tx, SET_METADATA, _METADATA, machine, parameters)


async def set_daemon_state(
    tx: Transaction, account: str, machine: str, daemon_state: str, expected: float
) -> Versioned | None:
    """Compare-and-set of the daemon's state, which is a sign of life too; None for a machine not owned."""
    parameters = {
        "account": account,
        "id": machine,
        "value": daemon_state,
        "expected": expected,
        "now": tx.now,
    }
    return await compare_and_set(tx, SET_DAEMON_STATE, _DAEMON_STATE, machine, parameters)


async def delete(tx: Transaction, account: str, machine: str) -> bool:
    """Delete the machine with its access keys; False for one not owned."""
    parameters = {"account": account, "id": machine}
    await tx.run(DELETE_ACCESS_KEYS, parameters)
    return await tx.run(DELETE, parameters) > 0
