"""What is old enough to go, by the time of its last use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

AT_ONCE: Final = 2_000
"""Rows that one statement removes, where many go."""

REMOVED: Final = "happy-removed"
"""The account that has the sessions which are being removed. Nobody can log in to it: its key is no key."""


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
WHERE "accountId" = %(removed)s OR ("lastActiveAt" < %(cut)s::timestamp AND "updatedAt" < %(cut)s::timestamp)
ORDER BY 2, 1
"""

# Whoever changes a session holds its account first.
HOLD_OWNER = """
SELECT 1 FROM "Account" WHERE "id" = (SELECT "accountId" FROM "Session" WHERE "id" = %(session)s)
FOR NO KEY UPDATE
"""

HOLD_REMOVED = """
INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES (%(removed)s, %(removed)s, %(now)s)
ON CONFLICT ("id") DO UPDATE SET "updatedAt" = EXCLUDED."updatedAt"
"""

# Of an owner who has asked for it, and whose account is held.
HIDE = """
UPDATE "Session" SET "accountId" = %(removed)s, "tag" = "id" WHERE "id" = %(session)s
"""

TAKE_AWAY = """
UPDATE "Session" SET "accountId" = %(removed)s, "tag" = "id"
WHERE "id" = %(session)s AND "accountId" <> %(removed)s AND "lastActiveAt" < %(cut)s AND "updatedAt" < %(cut)s
"""

IS_REMOVED = """
SELECT 1 FROM "Session" WHERE "id" = %(session)s AND "accountId" = %(removed)s
"""

REMOVED_SESSIONS = """
SELECT "id" FROM "Session" WHERE "accountId" = %(removed)s ORDER BY "id" LIMIT %(most)s
"""

FORGET_REMOVED = """
DELETE FROM "Account" WHERE "id" = %(removed)s
AND NOT EXISTS (SELECT 1 FROM "Session" WHERE "accountId" = %(removed)s)
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


async def old_sessions(tx: Transaction, cut: int | None) -> list[OldSession]:
    """The sessions without activity since then, those first that were used longest ago.

    Those that an earlier removal left behind are among them; without ``cut`` there are no others.
    """
    values = {"cut": None if cut is None else Millis(cut), "removed": REMOVED}
    return [OldSession._make(row) for row in await tx.rows(OLD_SESSIONS, values)]


async def take_away(tx: Transaction, session: str, cut: int | None) -> bool:
    """Take a session from its owner, for whom it is gone at once, whatever time its messages take to go.

    False for one that was used since ``cut``, or does not exist; True for one that was taken before.
    """
    values = {"session": session, "removed": REMOVED, "now": tx.now}
    if await tx.row(IS_REMOVED, values) is not None:
        return True
    if cut is None or await tx.row(HOLD_OWNER, values) is None:
        return False
    await tx.run(HOLD_REMOVED, values)
    return await tx.run(TAKE_AWAY, {**values, "cut": Millis(cut)}) > 0


async def hide(tx: Transaction, session: str) -> None:
    """Take a session that its owner deletes out of everybody's sight, to be removed later."""
    values = {"session": session, "removed": REMOVED, "now": tx.now}
    await tx.run(HOLD_REMOVED, values)
    await tx.run(HIDE, values)


async def removed_sessions(tx: Transaction) -> list[str]:
    """The ids of some sessions that are to be removed."""
    return [id for (id,) in await tx.rows(REMOVED_SESSIONS, {"removed": REMOVED, "most": AT_ONCE})]


async def forget_removed(tx: Transaction) -> bool:
    """Remove the account that sessions were taken to, unless it has some; QueryFailed if it gets one."""
    return await tx.run(FORGET_REMOVED, {"removed": REMOVED}) > 0


async def count_old(tx: Transaction, cuts: Cuts) -> tuple[int, int]:
    """How many usage reports and feed items are old."""
    counts = []
    for sql, cut in ((COUNT_USAGE, cuts.usage), (COUNT_FEED, cuts.feed)):
        row = None if cut is None else await tx.row(sql, {"cut": Millis(cut)})
        counts.append(0 if row is None else int(row[0]))
    return counts[0], counts[1]


async def remove_usage(tx: Transaction, cut: int) -> int:
    """Remove some old usage reports; how many, which is none at the end."""
    return await tx.run(USAGE, {"cut": Millis(cut), "most": AT_ONCE})


async def remove_feed(tx: Transaction, cut: int) -> int:
    """Remove some old feed items, as :func:`remove_usage` does."""
    return await tx.run(FEED, {"cut": Millis(cut), "most": AT_ONCE})
