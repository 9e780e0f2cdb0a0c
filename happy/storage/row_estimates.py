"""How large the tables are, roughly.

The planner's estimate is as old as the last analysis; what PostgreSQL counts beside it is not, but is lost
when it crashes. The larger one is nearer to the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

ESTIMATE_RECORDS = """
SELECT counted.label,
  greatest("pg_class"."reltuples"::bigint, pg_stat_get_live_tuples("pg_class"."oid"), 0)
FROM (
  VALUES ('sessions', 'Session'), ('messages', 'SessionMessage'), ('machines', 'Machine')
) AS counted(label, relation)
JOIN "pg_class" ON "pg_class"."oid" = to_regclass(quote_ident(counted.relation))
"""


async def estimate_records(tx: Transaction) -> dict[str, int]:
    """About how many rows each of the large tables has that the metrics show."""
    return dict(await tx.rows(ESTIMATE_RECORDS))
