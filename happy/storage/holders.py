"""What there is of whom: accounts with what they have, for the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage.ahead import AHEAD

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

# Messages are not read: they are numbered one by one in their session, which knows the last number (less what
# restores have moved it on), and what all of them take is divided by how many there are.
_HOLDERS = """
WITH "each" AS (
    SELECT pg_table_size('"SessionMessage"') / greatest(sum(mod("seq", {ahead})), 1) AS "bytes" FROM "Session"
)
SELECT a."id", a."createdAt",
       greatest(a."updatedAt", s."seen", m."seen", p."seen"),
       coalesce(m."count", 0), coalesce(s."count", 0), coalesce(s."messages", 0),
       (coalesce(s."messages", 0) * "each"."bytes" + coalesce(s."bytes", 0))::bigint,
       h."disabledAt" IS NOT NULL
FROM "Account" AS a CROSS JOIN "each"
LEFT JOIN "happy_accounts" AS h ON h."accountId" = a."id"
LEFT JOIN (
    SELECT "accountId", count(*) AS "count", sum(mod("seq", {ahead})) AS "messages",
           max("lastActiveAt") AS "seen",
           sum(pg_column_size("metadata") + coalesce(pg_column_size("agentState"), 0)) AS "bytes"
    FROM "Session" {of_account} GROUP BY 1
) AS s ON s."accountId" = a."id"
LEFT JOIN (
    SELECT "accountId", count(*) AS "count", max("lastActiveAt") AS "seen"
    FROM "Machine" {of_account} GROUP BY 1
) AS m ON m."accountId" = a."id"
LEFT JOIN (
    SELECT "accountId", max("seenAt") AS "seen" FROM "happy_pairings" {of_account} GROUP BY 1
) AS p ON p."accountId" = a."id"
{account}
"""

HOLDERS = _HOLDERS.format(ahead=AHEAD, of_account="", account='ORDER BY a."createdAt", a."id"')

HOLDER = _HOLDERS.format(
    ahead=AHEAD, of_account='WHERE "accountId" = %(account)s', account='WHERE a."id" = %(account)s'
)

USAGE = """
SELECT a."id", count(m."id"), coalesce(sum(pg_column_size(m.*)), 0)::bigint
FROM "Account" AS a
LEFT JOIN "Session" AS s ON s."accountId" = a."id"
LEFT JOIN "SessionMessage" AS m ON m."sessionId" = s."id"
GROUP BY a."id"
"""

OTHER_ROWS = """
SELECT "accountId", count(*), sum("bytes")::bigint FROM (
    SELECT "accountId", pg_column_size(t.*) AS "bytes" FROM "Session" AS t
    UNION ALL SELECT "accountId", pg_column_size(t.*) FROM "Machine" AS t
    UNION ALL SELECT "accountId", pg_column_size(t.*) FROM "Artifact" AS t
    UNION ALL SELECT "accountId", pg_column_size(t.*) FROM "UserKVStore" AS t
    UNION ALL SELECT "accountId", pg_column_size(t.*) FROM "UsageReport" AS t
    UNION ALL SELECT "userId", pg_column_size(t.*) FROM "UserFeedItem" AS t
    UNION ALL SELECT "accountId", pg_column_size(t.*) FROM "AccessKey" AS t
) AS "rows" GROUP BY 1
"""

BEGINNING = """
SELECT "id" FROM "Account" WHERE starts_with("id", %(prefix)s) ORDER BY "id" LIMIT 3
"""

SESSIONS = """
SELECT "id" FROM "Session" WHERE "accountId" = %(account)s ORDER BY "id"
"""

OWNERS = """
SELECT "id", "accountId" FROM "Session" WHERE "id" = ANY (%(sessions)s::text[])
"""

MACHINES = """
SELECT "id", "createdAt", "lastActiveAt", "active" FROM "Machine"
WHERE "accountId" = %(account)s ORDER BY "lastActiveAt" DESC, "id"
"""


class Holder(NamedTuple):
    """An account and what it has: times in ms, an estimate of its bytes in the database."""

    id: str
    created_at: int
    seen_at: int
    devices: int
    sessions: int
    messages: int
    bytes: int
    disabled: bool


class Rows(NamedTuple):
    """Of an account: how many rows, and their bytes."""

    account: str
    rows: int
    bytes: int


class MachineSeen(NamedTuple):
    """A machine of an account; times in ms."""

    id: str
    created_at: int
    seen_at: int
    active: bool


async def holders(tx: Transaction) -> list[Holder]:
    """Every account, the oldest first."""
    return [Holder._make(row) for row in await tx.rows(HOLDERS)]


async def holder(tx: Transaction, account: str) -> Holder | None:
    """One account, if it exists; of others, only sessions' numbers of messages are read."""
    row = await tx.row(HOLDER, {"account": account})
    return None if row is None else Holder._make(row)


async def message_rows(tx: Transaction) -> list[Rows]:
    """The messages of every account, read one by one."""
    return [Rows._make(row) for row in await tx.rows(USAGE)]


async def other_rows(tx: Transaction) -> list[Rows]:
    """What else accounts have, of those that have something."""
    return [Rows._make(row) for row in await tx.rows(OTHER_ROWS)]


async def beginning_with(tx: Transaction, prefix: str) -> list[str]:
    """The ids of the first accounts that begin so; three at most."""
    return [id for (id,) in await tx.rows(BEGINNING, {"prefix": prefix})]


async def sessions_of(tx: Transaction, account: str) -> list[str]:
    """The ids of an account's sessions."""
    return [id for (id,) in await tx.rows(SESSIONS, {"account": account})]


async def owners(tx: Transaction, sessions: Sequence[str]) -> dict[str, str]:
    """The accounts of those of the sessions that exist."""
    return dict(await tx.rows(OWNERS, {"sessions": list(sessions)}))


async def machines_of(tx: Transaction, account: str) -> list[MachineSeen]:
    """The machines of an account, the one seen last first."""
    return [MachineSeen._make(row) for row in await tx.rows(MACHINES, {"account": account})]
