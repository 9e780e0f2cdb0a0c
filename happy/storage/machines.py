"""Machines: registered under an id of their own choosing, changed by version."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from happy.storage.versioned import Versioned, compare_and_set

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
RETURNING {_COLUMNS}
"""

BY_ID = f"""
SELECT {_COLUMNS} FROM "Machine" WHERE "accountId" = %(account)s AND "id" = %(id)s
"""

RECENTLY_ACTIVE = f"""
SELECT {_COLUMNS} FROM "Machine" WHERE "accountId" = %(account)s
ORDER BY "lastActiveAt" DESC, "id" LIMIT %(limit)s
"""

SET_METADATA = """
UPDATE "Machine"
SET "metadata" = %(value)s, "metadataVersion" = "metadataVersion" + 1, "updatedAt" = %(now)s
WHERE "accountId" = %(account)s AND "id" = %(id)s AND "metadataVersion" = %(expected)s
RETURNING "metadataVersion"
"""

METADATA = """
SELECT "metadataVersion", "metadata" FROM "Machine" WHERE "accountId" = %(account)s AND "id" = %(id)s
"""

SET_DAEMON_STATE = """
UPDATE "Machine"
SET "daemonState" = %(value)s, "daemonStateVersion" = "daemonStateVersion" + 1,
    "active" = true, "lastActiveAt" = greatest("lastActiveAt", %(now)s), "updatedAt" = %(now)s
WHERE "accountId" = %(account)s AND "id" = %(id)s AND "daemonStateVersion" = %(expected)s
RETURNING "daemonStateVersion"
"""

DAEMON_STATE = """
SELECT "daemonStateVersion", "daemonState" FROM "Machine"
WHERE "accountId" = %(account)s AND "id" = %(id)s
"""

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

    None when the id is another account's.
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
    found = await tx.row(BY_ID, parameters)
    if found is None and (created := await tx.row(CREATE, parameters)) is not None:
        return MachineRow._make(created), True
    found = found or await tx.row(BY_ID, parameters)
    return found and (MachineRow._make(found), False)


async def find(tx: Transaction, account: str, machine: str) -> MachineRow | None:
    """The account's machine with the id."""
    row = await tx.row(BY_ID, {"account": account, "id": machine})
    return None if row is None else MachineRow._make(row)


async def recently_active(tx: Transaction, account: str, limit: int) -> list[MachineRow]:
    """At most ``limit`` machines, the latest sign of life first."""
    rows = await tx.rows(RECENTLY_ACTIVE, {"account": account, "limit": limit})
    return [MachineRow._make(row) for row in rows]


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
    return await compare_and_set(tx, SET_METADATA, METADATA, parameters)


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
    return await compare_and_set(tx, SET_DAEMON_STATE, DAEMON_STATE, parameters)


async def delete(tx: Transaction, account: str, machine: str) -> bool:
    """Delete the machine with its access keys; False for one not owned."""
    parameters = {"account": account, "id": machine}
    await tx.run(DELETE_ACCESS_KEYS, parameters)
    return await tx.run(DELETE, parameters) > 0
