"""What is old enough to go, by the time of its last use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from happy.storage.sessions import DELETE_ACCESS_KEYS, DELETE_MESSAGES, DELETE_USAGE_REPORTS
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

AT_ONCE: Final = 2_000
"""Rows that one statement removes, where many go."""


class OldSession(NamedTuple):
    """A session that nobody has used for long: ``at`` is its last use, ``size`` the bytes of its messages."""

    id: str
    at: int
    messages: int
    size: int


class Cuts(NamedTuple):
    """Epoch milliseconds: what was not used since then goes; None: nothing does."""

    sessions: int | None = None
    usage: int | None = None
    feed: int | None = None


OLD_SESSIONS = """
SELECT "id", greatest("lastActiveAt", "updatedAt"), "messages"."count", "messages"."size"
FROM "Session", LATERAL (
    SELECT count(*) AS "count", coalesce(sum(pg_column_size("content")), 0)::bigint AS "size"
    FROM "SessionMessage" WHERE "sessionId" = "Session"."id"
) AS "messages"
WHERE "lastActiveAt" < %(cut)s AND "updatedAt" < %(cut)s ORDER BY 2, 1
"""

STILL_OLD = """
SELECT 1 FROM "Session"
WHERE "id" = %(session)s AND "lastActiveAt" < %(cut)s AND "updatedAt" < %(cut)s FOR UPDATE
"""

SESSION = """
DELETE FROM "Session" WHERE "id" = %(session)s
"""

USAGE = """
DELETE FROM "UsageReport" WHERE "id" IN (
    SELECT "id" FROM "UsageReport" WHERE "updatedAt" < %(cut)s LIMIT %(most)s
)
"""

FEED = """
DELETE FROM "UserFeedItem" WHERE "id" IN (
    SELECT "id" FROM "UserFeedItem" WHERE "updatedAt" < %(cut)s LIMIT %(most)s
)
"""

COUNT_USAGE = """
SELECT count(*) FROM "UsageReport" WHERE "updatedAt" < %(cut)s
"""

COUNT_FEED = """
SELECT count(*) FROM "UserFeedItem" WHERE "updatedAt" < %(cut)s
"""


async def old_sessions(tx: Transaction, cut: int) -> list[OldSession]:
    """The sessions without activity since then, those first that were used longest ago."""
    return [OldSession._make(row) for row in await tx.rows(OLD_SESSIONS, {"cut": Millis(cut)})]


async def remove_session(tx: Transaction, session: str, cut: int) -> int | None:
    """Remove a session with everything of it; how many messages. None for one that was used meanwhile."""
    values = {"session": session, "cut": Millis(cut)}
    if await tx.row(STILL_OLD, values) is None:
        return None
    count = await tx.run(DELETE_MESSAGES, values)
    for statement in (DELETE_USAGE_REPORTS, DELETE_ACCESS_KEYS, SESSION):
        await tx.run(statement, values)
    return count


async def count_old(tx: Transaction, cuts: Cuts) -> tuple[int, int]:
    """How many usage reports and feed items are old."""
    counts = []
    for sql, cut in ((COUNT_USAGE, cuts.usage), (COUNT_FEED, cuts.feed)):
        row = None if cut is None else await tx.row(sql, {"cut": Millis(cut)})
        counts.append(0 if row is None else int(row[0]))
    return counts[0], counts[1]


async def remove_usage(tx: Transaction, cut: int) -> int:
    """Remove some old usage reports; how many, which is fewer than :data:`AT_ONCE` at the end."""
    return await tx.run(USAGE, {"cut": Millis(cut), "most": AT_ONCE})


async def remove_feed(tx: Transaction, cut: int) -> int:
    """Remove some old feed items, as :func:`remove_usage` does."""
    return await tx.run(FEED, {"cut": Millis(cut), "most": AT_ONCE})
