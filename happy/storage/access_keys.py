"""Access keys: one opaque text for each pair of a session and a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid
from happy.storage.versioned import Versioned, compare_and_set, stored_values

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class AccessKeyRow(NamedTuple):
    """An access key; times are epoch milliseconds."""

    data: str
    data_version: int
    created_at: int
    updated_at: int


class SessionAndMachine(NamedTuple):
    """A session and a machine that both are the account's, and the key between them."""

    key: AccessKeyRow | None


FIND = """
SELECT k."data", k."dataVersion", k."createdAt", k."updatedAt"
FROM "Session" AS s
JOIN "Machine" AS m ON m."accountId" = s."accountId" AND m."id" = %(machine)s
LEFT JOIN "AccessKey" AS k
    ON k."accountId" = s."accountId" AND k."machineId" = m."id" AND k."sessionId" = s."id"
WHERE s."id" = %(session)s AND s."accountId" = %(account)s
"""

CREATE = """
INSERT INTO "AccessKey"
    ("id", "accountId", "machineId", "sessionId", "data", "dataVersion", "createdAt", "updatedAt")
VALUES (%(id)s, %(account)s, %(machine)s, %(session)s, %(data)s, 1, %(now)s, %(now)s)
ON CONFLICT ("accountId", "machineId", "sessionId") DO NOTHING
RETURNING "data", "dataVersion", "createdAt", "updatedAt"
"""

SET_DATA = """
UPDATE "AccessKey"
SET "data" = %(value)s, "dataVersion" = "dataVersion" + 1, "updatedAt" = %(now)s
WHERE "accountId" = %(account)s AND "machineId" = %(machine)s AND "sessionId" = %(session)s
    AND "dataVersion" = %(expected)s
RETURNING "dataVersion"
"""

_DATA = stored_values(
    '"AccessKey"',
    '"sessionId"',
    '"data"',
    '"dataVersion"',
    '"accountId" = %(account)s AND "machineId" = %(machine)s',
    unique=False,
)


async def find(tx: Transaction, account: str, session: str, machine: str) -> SessionAndMachine | None:
    """The pair and its key; None unless both the session and the machine are the account's."""
    row = await tx.row(FIND, {"account": account, "session": session, "machine": machine})
    if row is None:
        return None
    return SessionAndMachine(None if row[0] is None else AccessKeyRow._make(row))


async def create(tx: Transaction, account: str, session: str, machine: str, data: str) -> AccessKeyRow | None:
    """Store the first key of an owned pair; None when there is one already."""
    parameters = {
        "id": cuid(tx.now),
        "account": account,
        "session": session,
        "machine": machine,
        "data": data,
        "now": tx.now,
    }
    row = await tx.row(CREATE, parameters)
    return None if row is None else AccessKeyRow._make(row)


async def set_data(
    tx: Transaction, account: str, session: str, machine: str, data: str, expected: int
) -> Versioned | None:
    """Compare-and-set of the key's data; None when there is no key."""
    parameters = {
        "account": account,
        "session": session,
        "machine": machine,
        "value": data,
        "expected": expected,
        "now": tx.now,
    }
    return await compare_and_set(tx, SET_DATA, _DATA, session, parameters)
