"""Sessions: created once per tag, listed in three orders, changed by version, deleted whole.

Who owns a session and when it ended is in :mod:`happy.storage.presence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid
from happy.storage import removal, retention
from happy.storage.large import Column, Kind, Page, Table
from happy.storage.versioned import Versioned, compare_and_set, stored_values

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

_MINE = '"accountId" = %(account)s'

_TABLE = Table(
    '"Session"',
    SessionRow,
    _COLUMNS,
    [
        Column('"metadata"', Kind.TEXT, '"metadataVersion"'),
        Column('"agentState"', Kind.TEXT, '"agentStateVersion"'),
        Column('"dataEncryptionKey"', Kind.BYTES),
    ],
    _MINE,
)

CREATE = f"""
INSERT INTO "Session"
    ("id", "accountId", "tag", "metadata", "dataEncryptionKey", "lastActiveAt", "createdAt", "updatedAt")
VALUES (%(id)s, %(account)s, %(tag)s, %(metadata)s, %(key)s, %(now)s, %(now)s, %(now)s)
ON CONFLICT ("accountId", "tag") DO NOTHING
RETURNING {_TABLE.small}
"""

COUNT = """
SELECT count(*) FROM "Session" WHERE "accountId" = %(account)s
"""

IDS = """
SELECT "id" FROM "Session" WHERE "accountId" = %(account)s
"""

BY_TAG = _TABLE.measured('FROM "Session" WHERE "accountId" = %(account)s AND "tag" = %(tag)s')


def _list(where: str, order: str) -> str:
    """The account's sessions of which ``where`` is true, in this order."""
    rows = f'FROM "Session" WHERE "accountId" = %(account)s {where} ORDER BY {order} LIMIT %(limit)s'
    return _TABLE.measured(rows, f"ORDER BY {order}")


# Under this collation the order is that of an index of ours, and of no other (migration 0005).
_ID = '"id" COLLATE "C"'

RECENTLY_CHANGED = _list("", '"updatedAt" DESC, "id" DESC')
RECENTLY_ACTIVE = _list('AND "active" AND "lastActiveAt" > %(since)s', '"lastActiveAt" DESC')
NEWEST = _list("", f"{_ID} DESC")
NEWEST_BELOW = _list(f"AND {_ID} < %(below)s", f"{_ID} DESC")
NEWEST_CHANGED = _list('AND "updatedAt" > %(since)s', f"{_ID} DESC")
NEWEST_CHANGED_BELOW = _list(f'AND "updatedAt" > %(since)s AND {_ID} < %(below)s', f"{_ID} DESC")

NAMED = _TABLE.again

SET_METADATA = """
UPDATE "Session"
SET "metadata" = %(value)s, "metadataVersion" = "metadataVersion" + 1, "updatedAt" = %(now)s
WHERE "id" = %(session)s AND "accountId" = %(account)s AND "metadataVersion" = %(expected)s
RETURNING "metadataVersion"
"""

_METADATA = stored_values('"Session"', '"id"', '"metadata"', '"metadataVersion"', _MINE)

SET_AGENT_STATE = """
UPDATE "Session"
SET "agentState" = %(value)s, "agentStateVersion" = "agentStateVersion" + 1, "updatedAt" = %(now)s
WHERE "id" = %(session)s AND "accountId" = %(account)s AND "agentStateVersion" = %(expected)s
RETURNING "agentStateVersion"
"""

_AGENT_STATE = stored_values('"Session"', '"id"', '"agentState"', '"agentStateVersion"', _MINE)

LOCK = """
SELECT 1 FROM "Session" WHERE "id" = %(session)s AND "accountId" = %(account)s FOR UPDATE
"""

HAS_MORE = """
SELECT 1 WHERE EXISTS (SELECT 1 FROM "SessionMessage" WHERE "sessionId" = %(session)s)
    OR EXISTS (SELECT 1 FROM "UsageReport" WHERE "sessionId" = %(session)s)
    OR EXISTS (SELECT 1 FROM "AccessKey" WHERE "sessionId" = %(session)s)
"""


async def count(tx: Transaction, account: str) -> int:
    """How many sessions an account has."""
    row = await tx.row(COUNT, {"account": account})
    return 0 if row is None else int(row[0])


async def ids(tx: Transaction, account: str) -> list[str]:
    """The ids of all sessions of an account."""
    return [row[0] for row in await tx.rows(IDS, {"account": account})]


async def get_or_create(
    tx: Transaction, account: str, *, tag: str, metadata: str, data_encryption_key: bytes | None
) -> tuple[SessionRow, bool]:
    """The account's session with the tag, and whether it is new; an existing one stays as it is.

    A stored one that is very large has its contents as :class:`~happy.storage.large.Large`. The transaction
    holds the account, so that nobody deletes the session between two statements; another
    server on the database may still make one. Raises LookupError where it deletes that again at once.
    """
    parameters = {
        "id": cuid(tx.now),
        "account": account,
        "tag": tag,
        "metadata": metadata,
        "key": data_encryption_key,
        "now": tx.now,
    }
    found = (await _TABLE.page(tx, BY_TAG, parameters)).only
    if found is None and (created := await tx.row(CREATE, parameters)) is not None:
        return _TABLE.row(created, metadata, None, data_encryption_key), True
    found = found or (await _TABLE.page(tx, BY_TAG, parameters)).only
    if found is None:
        raise LookupError("a session vanished while it was being opened")
    return found, False


async def named(tx: Transaction, account: str, ids: Sequence[str]) -> Page[SessionRow]:
    """Those of the sessions that are there and the account's, in the order of ``ids``."""
    return await _TABLE.named(tx, ids, {"account": account})


async def recently_changed(tx: Transaction, account: str, limit: int) -> Page[SessionRow]:
    """At most ``limit`` sessions, the one changed last first."""
    return await _TABLE.page(tx, RECENTLY_CHANGED, {"account": account, "limit": limit})


async def recently_active(tx: Transaction, account: str, since: Millis, limit: int) -> Page[SessionRow]:
    """At most ``limit`` active sessions with a sign of life after ``since``, the latest first."""
    return await _TABLE.page(tx, RECENTLY_ACTIVE, {"account": account, "since": since, "limit": limit})


async def newest(
    tx: Transaction, account: str, *, below: str | None, changed_since: Millis | None, limit: int
) -> Page[SessionRow]:
    """At most ``limit`` sessions by descending id, from below the id ``below`` on.

    ``changed_since`` leaves out those not changed after that moment.
    """
    statement = {
        (False, False): NEWEST,
        (True, False): NEWEST_BELOW,
        (False, True): NEWEST_CHANGED,
        (True, True): NEWEST_CHANGED_BELOW,
    }[below is not None, changed_since is not None]
    return await _TABLE.page(
        tx, statement, {"account": account, "below": below, "since": changed_since, "limit": limit}
    )


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
    return await compare_and_set(tx, SET_METADATA, _METADATA, session, parameters)


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
    return await compare_and_set(tx, SET_AGENT_STATE, _AGENT_STATE, session, parameters)


async def delete(tx: Transaction, account: str, session: str) -> bool:
    """Delete the session with its messages, usage reports and access keys; False for one not owned.

    The row's lock keeps new children out. A slice of each kind goes in this transaction, which is all that
    most sessions have. One that has more is only taken from its owner: its rest has no place in a short
    transaction (D34), and is to be removed by whoever asks :func:`happy.storage.retention.removed_sessions`.
    """
    parameters = {"account": account, "session": session}
    if await tx.row(LOCK, parameters) is None:
        return False
    await removal.remove_messages(tx, session, 0)
    for kind in range(len(removal.OF_SESSION)):
        await removal.remove_of_session(tx, session, kind)
    if await tx.row(HAS_MORE, parameters) is None:
        await removal.remove_session(tx, session)
    else:
        await retention.hide(tx, session)
    return True
