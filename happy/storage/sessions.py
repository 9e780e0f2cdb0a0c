"""Sessions: created once per tag, listed in three orders, changed by version, deleted whole.

Who owns a session and when it ended is in :mod:`happy.storage.presence`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from happy.ids import cuid
from happy.storage.versioned import Versioned, compare_and_set

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction
    from happy.storage.types import Millis


class SessionRow(NamedTuple):
    """A session; ``seq`` is the number of its last message, times are epoch milliseconds."""

    id: str
    seq: int
    metadata: str
    metadata_version: int
    agent_state: str | None
    agent_state_version: int
    data_encryption_key: bytes | None
    active: bool
    active_at: int
    created_at: int
    updated_at: int


_COLUMNS = """
    "id", "seq", "metadata", "metadataVersion", "agentState", "agentStateVersion", "dataEncryptionKey",
    "active", "lastActiveAt", "createdAt", "updatedAt"
"""

CREATE = f"""
INSERT INTO "Session"
    ("id", "accountId", "tag", "metadata", "dataEncryptionKey", "lastActiveAt", "createdAt", "updatedAt")
VALUES (%(id)s, %(account)s, %(tag)s, %(metadata)s, %(key)s, %(now)s, %(now)s, %(now)s)
ON CONFLICT ("accountId", "tag") DO NOTHING
RETURNING {_COLUMNS}
"""

BY_TAG = f"""
SELECT {_COLUMNS} FROM "Session" WHERE "accountId" = %(account)s AND "tag" = %(tag)s
"""

RECENTLY_CHANGED = f"""
SELECT {_COLUMNS} FROM "Session" WHERE "accountId" = %(account)s
ORDER BY "updatedAt" DESC, "id" DESC LIMIT %(limit)s
"""

RECENTLY_ACTIVE = f"""
SELECT {_COLUMNS} FROM "Session"
WHERE "accountId" = %(account)s AND "active" AND "lastActiveAt" > %(since)s
ORDER BY "lastActiveAt" DESC LIMIT %(limit)s
"""

# Under this collation the order is that of an index of ours, and of no other (migration 0005).
_ID = '"id" COLLATE "C"'

NEWEST = f"""
SELECT {_COLUMNS} FROM "Session" WHERE "accountId" = %(account)s
ORDER BY {_ID} DESC LIMIT %(limit)s
"""

NEWEST_BELOW = f"""
SELECT {_COLUMNS} FROM "Session" WHERE "accountId" = %(account)s AND {_ID} < %(below)s
ORDER BY {_ID} DESC LIMIT %(limit)s
"""

NEWEST_CHANGED = f"""
SELECT {_COLUMNS} FROM "Session" WHERE "accountId" = %(account)s AND "updatedAt" > %(since)s
ORDER BY {_ID} DESC LIMIT %(limit)s
"""

NEWEST_CHANGED_BELOW = f"""
SELECT {_COLUMNS} FROM "Session"
WHERE "accountId" = %(account)s AND "updatedAt" > %(since)s AND {_ID} < %(below)s
ORDER BY {_ID} DESC LIMIT %(limit)s
"""

SET_METADATA = """
UPDATE "Session"
SET "metadata" = %(value)s, "metadataVersion" = "metadataVersion" + 1, "updatedAt" = %(now)s
WHERE "id" = %(session)s AND "accountId" = %(account)s AND "metadataVersion" = %(expected)s
RETURNING "metadataVersion"
"""

METADATA = """
SELECT "metadataVersion", "metadata" FROM "Session"
WHERE "id" = %(session)s AND "accountId" = %(account)s
"""

SET_AGENT_STATE = """
UPDATE "Session"
SET "agentState" = %(value)s, "agentStateVersion" = "agentStateVersion" + 1, "updatedAt" = %(now)s
WHERE "id" = %(session)s AND "accountId" = %(account)s AND "agentStateVersion" = %(expected)s
RETURNING "agentStateVersion"
"""

AGENT_STATE = """
SELECT "agentStateVersion", "agentState" FROM "Session"
WHERE "id" = %(session)s AND "accountId" = %(account)s
"""

LOCK = """
SELECT 1 FROM "Session" WHERE "id" = %(session)s AND "accountId" = %(account)s FOR UPDATE
"""

NO_TIME_LIMIT = """
SET LOCAL statement_timeout = 0
"""

DELETE_MESSAGES = """
DELETE FROM "SessionMessage" WHERE "sessionId" = %(session)s
"""

DELETE_USAGE_REPORTS = """
DELETE FROM "UsageReport" WHERE "sessionId" = %(session)s
"""

DELETE_ACCESS_KEYS = """
DELETE FROM "AccessKey" WHERE "sessionId" = %(session)s
"""

DELETE = """
DELETE FROM "Session" WHERE "id" = %(session)s AND "accountId" = %(account)s
"""


async def get_or_create(
    tx: Transaction, account: str, *, tag: str, metadata: str, data_encryption_key: bytes | None
) -> tuple[SessionRow, bool]:
    """The account's session with the tag, and whether it is new; an existing one stays as it is.

    The transaction holds the account, so that nobody deletes the session between two statements; another
    server on the database may still make one.
    """
    parameters = {
        "id": cuid(tx.now),
        "account": account,
        "tag": tag,
        "metadata": metadata,
        "key": data_encryption_key,
        "now": tx.now,
    }
    found = await tx.row(BY_TAG, parameters)
    if found is None and (created := await tx.row(CREATE, parameters)) is not None:
        return SessionRow._make(created), True
    found = found or await tx.row(BY_TAG, parameters)
    if found is None:
        raise LookupError("a session vanished while it was being opened")
    return SessionRow._make(found), False


async def recently_changed(tx: Transaction, account: str, limit: int) -> list[SessionRow]:
    """At most ``limit`` sessions, the one changed last first."""
    rows = await tx.rows(RECENTLY_CHANGED, {"account": account, "limit": limit})
    return [SessionRow._make(row) for row in rows]


async def recently_active(tx: Transaction, account: str, since: Millis, limit: int) -> list[SessionRow]:
    """At most ``limit`` active sessions with a sign of life after ``since``, the latest first."""
    rows = await tx.rows(RECENTLY_ACTIVE, {"account": account, "since": since, "limit": limit})
    return [SessionRow._make(row) for row in rows]


async def newest(
    tx: Transaction, account: str, *, below: str | None, changed_since: Millis | None, limit: int
) -> list[SessionRow]:
    """At most ``limit`` sessions by descending id, from below the id ``below`` on.

    ``changed_since`` leaves out those not changed after that moment.
    """
    statement = {
        (False, False): NEWEST,
        (True, False): NEWEST_BELOW,
        (False, True): NEWEST_CHANGED,
        (True, True): NEWEST_CHANGED_BELOW,
    }[below is not None, changed_since is not None]
    rows = await tx.rows(
        statement, {"account": account, "below": below, "since": changed_since, "limit": limit}
    )
    return [SessionRow._make(row) for row in rows]


async def set_metadata(
    tx: Transaction, account: str, session: str, metadata: str, expected: float
) -> Versioned | None:
    """Compare-and-set of the metadata; None for a session not owned."""
    parameters = {
        "account": account,
        "session": session,
        "value": metadata,
        "expected": expected,
        "now": tx.now,
    }
    return await compare_and_set(tx, SET_METADATA, METADATA, parameters)


async def set_agent_state(
    tx: Transaction, account: str, session: str, agent_state: str | None, expected: float
) -> Versioned | None:
    """Compare-and-set of the agent state; None for a session not owned."""
    parameters = {
        "account": account,
        "session": session,
        "value": agent_state,
        "expected": expected,
        "now": tx.now,
    }
    return await compare_and_set(tx, SET_AGENT_STATE, AGENT_STATE, parameters)


async def delete(tx: Transaction, account: str, session: str) -> bool:
    """Delete the session with its messages, usage reports and access keys; False for one not owned.

    The row's lock keeps new children out. However many there are, they go in this transaction (D34).
    """
    parameters = {"account": account, "session": session}
    if await tx.row(LOCK, parameters) is None:
        return False
    await tx.run(NO_TIME_LIMIT)
    for statement in (DELETE_MESSAGES, DELETE_USAGE_REPORTS, DELETE_ACCESS_KEYS, DELETE):
        await tx.run(statement, parameters)
    return True
