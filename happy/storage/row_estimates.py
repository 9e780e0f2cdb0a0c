"""How large the tables are, roughly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from happy.storage.database import Transaction

ESTIMATE_RECORDS = """
SELECT counted.label, greatest("pg_class"."reltuples", 0)::bigint
FROM (
  VALUES
    ('accounts', 'Account'), ('sessions', 'Session'),
    ('messages', 'SessionMessage'), ('machines', 'Machine')
) AS counted(label, relation)
JOIN "pg_class" ON "pg_class"."oid" = to_regclass(quote_ident(counted.relation))
"""


async def estimate_records(tx: Transaction) -> dict[str, int]:
    """The planner's estimate of the rows of each table that the metrics show."""
    return dict(await tx.rows(ESTIMATE_RECORDS))
