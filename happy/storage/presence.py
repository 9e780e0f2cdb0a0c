"""Presence columns of sessions and machines: validation, the heartbeat flush and the inactivity sweep.

Every statement that touches several rows skips those that another writer holds: a heartbeat that is
left out is written by the next flush, and no two writers can deadlock. The statements for machines are
those for sessions: the columns have the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class PresenceRow(NamedTuple):
    """Who owns a session or machine, and what its row says of its presence (ms)."""

    id: str
    account: str
    last_active_at: int
    active: bool


class SweptRow(NamedTuple):
    """A session or machine that was just found inactive."""

    id: str
    account: str
    last_active_at: int


SESSIONS = """
SELECT "id", "accountId", "lastActiveAt", "active" FROM "Session" WHERE "id" = ANY (%(ids)s::text[])
"""

MACHINES = SESSIONS.replace('"Session"', '"Machine"')

# Rows are named by an array of their ids: a join would leave the planner to choose how to find them.
FLUSH_SESSIONS = """
UPDATE "Session" AS live
SET "lastActiveAt" = greatest(live."lastActiveAt", beat.at), "active" = true, "updatedAt" = %(now)s
FROM unnest(%(ids)s::text[], %(times)s::timestamp(3)[]) AS beat (id, at)
WHERE live."id" = beat.id AND live."id" = ANY (ARRAY(
    SELECT "id" FROM "Session" WHERE "id" = ANY (%(ids)s::text[]) FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING live."id"
"""

FLUSH_MACHINES = FLUSH_SESSIONS.replace('"Session"', '"Machine"')

SWEEP_SESSIONS = """
UPDATE "Session"
SET "active" = false, "updatedAt" = %(now)s
WHERE "id" = ANY (ARRAY(
    SELECT "id" FROM "Session" WHERE "active" AND "lastActiveAt" <= %(before)s
    ORDER BY "lastActiveAt" LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING "id", "accountId", "lastActiveAt"
"""

SWEEP_MACHINES = SWEEP_SESSIONS.replace('"Session"', '"Machine"')

END_SESSION = """
UPDATE "Session"
SET "active" = false, "lastActiveAt" = greatest("lastActiveAt", %(at)s), "updatedAt" = %(now)s
WHERE "id" = %(session)s AND "accountId" = %(account)s
RETURNING "id"
"""

OWN_SESSION = """
SELECT 1 FROM "Session" WHERE "id" = %(session)s AND "accountId" = %(account)s
"""


async def sessions(tx: Transaction, ids: Sequence[str]) -> list[PresenceRow]:
    """The rows of the sessions that exist."""
    return [PresenceRow(*row) for row in await tx.rows(SESSIONS, {"ids": list(ids)})]


async def machines(tx: Transaction, ids: Sequence[str]) -> list[PresenceRow]:
    """The rows of the machines that exist."""
    return [PresenceRow(*row) for row in await tx.rows(MACHINES, {"ids": list(ids)})]


async def flush_sessions(tx: Transaction, beats: Sequence[tuple[str, int]]) -> set[str]:
    """Store heartbeats as (id, ms); returns the ids written. ``lastActiveAt`` only moves forward."""
    return await _flush(tx, FLUSH_SESSIONS, beats)


async def flush_machines(tx: Transaction, beats: Sequence[tuple[str, int]]) -> set[str]:
    """As :func:`flush_sessions`, for machines."""
    return await _flush(tx, FLUSH_MACHINES, beats)


async def _flush(tx: Transaction, statement: str, beats: Sequence[tuple[str, int]]) -> set[str]:
    rows = await tx.rows(
        statement,
        {"ids": [id for id, _ in beats], "times": [Millis(at) for _, at in beats], "now": tx.now},
    )
    return {row[0] for row in rows}


async def sweep_sessions(tx: Transaction, before: int, limit: int) -> list[SweptRow]:
    """Mark sessions inactive whose last heartbeat is not after ``before`` (ms); at most ``limit``."""
    return await _sweep(tx, SWEEP_SESSIONS, before, limit)


async def sweep_machines(tx: Transaction, before: int, limit: int) -> list[SweptRow]:
    """As :func:`sweep_sessions`, for machines."""
    return await _sweep(tx, SWEEP_MACHINES, before, limit)


async def _sweep(tx: Transaction, statement: str, before: int, limit: int) -> list[SweptRow]:
    rows = await tx.rows(statement, {"before": Millis(before), "now": tx.now, "limit": limit})
    return [SweptRow(*row) for row in rows]


async def owns_session(tx: Transaction, account: str, session: str) -> bool:
    """Whether the session exists and belongs to the account."""
    return await tx.row(OWN_SESSION, {"account": account, "session": session}) is not None


async def end_session(tx: Transaction, account: str, session: str, at: int) -> bool:
    """Mark a session as ended at ``at`` (ms); False when it is unknown or another account's.

    ``lastActiveAt`` only moves forward.
    """
    row = await tx.row(END_SESSION, {"account": account, "session": session, "at": Millis(at), "now": tx.now})
    return row is not None
