"""Usage reports: the latest of each key is kept, sums are made in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from happy.base.ids import cuid
from happy.storage.types import Jsonb

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction
    from happy.storage.types import Millis


LARGEST = 64 * 1024
"""Bytes that a report may take in the database for its entries to be looked at."""


class ReportRow(NamedTuple):
    """A stored report; times are epoch milliseconds."""

    id: str
    created_at: int
    updated_at: int


class Sum(NamedTuple):
    """One sum over the reports of a span of time.

    ``start`` is the span's beginning in epoch **seconds**. ``kind`` says whether ``name`` is counted in
    tokens or in cost; kind ``reports`` with an empty name is the number of reports.
    """

    start: int
    kind: Literal["reports", "tokens", "cost"]
    name: str
    total: float


REPLACE = """
INSERT INTO "UsageReport" ("id", "accountId", "sessionId", "key", "data", "createdAt", "updatedAt")
VALUES (%(id)s, %(account)s, %(session)s, %(key)s, %(data)s, %(now)s, %(now)s)
ON CONFLICT ("accountId", "sessionId", "key") DO UPDATE
SET "data" = EXCLUDED."data", "updatedAt" = EXCLUDED."updatedAt"
RETURNING "id", "createdAt", "updatedAt"
"""

# The unique index takes nulls for different from each other, so reports of no session need two steps.
REPLACE_WITHOUT_SESSION = """
UPDATE "UsageReport" SET "data" = %(data)s, "updatedAt" = %(now)s
WHERE "accountId" = %(account)s AND "sessionId" IS NULL AND "key" = %(key)s
RETURNING "id", "createdAt", "updatedAt"
"""

# A number near the largest float is no count of anything, and a sum with it would be an error.
_SUMMED = """
CASE WHEN jsonb_typeof("value") = 'number' THEN abs("value"::numeric) < 1e290 ELSE false END
"""

# Values are added as floats, as clients add them, so that a sum has the same digits everywhere. A report of
# which more is stored than clients may send was made before there was a bound: it counts, but to look through
# its entries would keep the database busy for as long as its owner likes.
SUMS = f"""
WITH report AS MATERIALIZED (
    SELECT date_trunc(%(span)s, "createdAt" AT TIME ZONE 'UTC', %(zone)s) AS start,
        CASE WHEN pg_column_size("data") <= %(largest)s THEN "data" END AS "data"
    FROM "UsageReport"
    WHERE "accountId" = %(account)s
        AND "createdAt" BETWEEN %(first)s AND %(last)s
        AND (%(session)s::text IS NULL OR "sessionId" = %(session)s::text)
), entry AS (
    SELECT start, 'reports' AS kind, '' AS name, count(*)::float8 AS total FROM report GROUP BY start
    UNION ALL
    SELECT start, 'tokens', "key", sum("value"::float8)
    FROM report, jsonb_each("data" -> 'tokens') WHERE {_SUMMED} GROUP BY start, "key"
    UNION ALL
    SELECT start, 'cost', "key", sum("value"::float8)
    FROM report, jsonb_each("data" -> 'cost') WHERE {_SUMMED} GROUP BY start, "key"
)
SELECT extract(epoch FROM start)::bigint, kind, name, total FROM entry ORDER BY start, kind, name
"""


async def replace(
    tx: Transaction, account: str, session: str | None, key: str, data: dict[str, Any]
) -> ReportRow:
    """Store a report in the place of a former one of the same session and key.

    The transaction holds the account, so that a report of no session is not stored twice.
    """
    parameters = {
        "id": cuid(tx.now),
        "account": account,
        "session": session,
        "key": key,
        "data": Jsonb(data),
        "now": tx.now,
    }
    row = await tx.row(REPLACE_WITHOUT_SESSION, parameters) if session is None else None
    row = row or await tx.row(REPLACE, parameters)
    assert row is not None
    return ReportRow._make(row)


async def sums(
    tx: Transaction,
    account: str,
    session: str | None,
    first: Millis,
    last: Millis,
    *,
    span: Literal["hour", "day"],
    zone: str,
) -> list[Sum]:
    """Sums over the account's reports made between two moments (inclusive), per hour or day of a time zone.

    Restricted to one session unless it is None. Entries that are no numbers are left out. By time.
    """
    parameters = {
        "account": account,
        "session": session,
        "first": first,
        "last": last,
        "span": span,
        "zone": zone,
        "largest": LARGEST,
    }
    return [Sum._make(row) for row in await tx.rows(SUMS, parameters)]
