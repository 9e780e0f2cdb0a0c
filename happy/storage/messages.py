"""Stored messages of a session: what is appended, what is read back, and the pages in between.

Appending is the group committer's business; this module holds the records it takes and returns, and the
readers. Message numbers count within a session; contents stay sealed and unparsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from happy.storage.transaction import Transaction

BEYOND_ALL = 2**31
"""Larger than every message number (schema.md 1)."""


class NewMessage(NamedTuple):
    """A message to append. ``local_id`` tells repetitions apart; without one it is always new."""

    local_id: str | None
    content: str


class StoredMessage(NamedTuple):
    """A message that was appended, or found already stored under its ``local_id``."""

    id: str
    seq: int
    local_id: str | None
    created_at: int
    updated_at: int
    new: bool


class MessageRow(NamedTuple):
    """A stored message; ``content`` is JSON text."""

    id: str
    seq: int
    content: str
    local_id: str | None
    created_at: int
    updated_at: int


# One statement answers two questions: no row at all means that the session is not the account's, a row
# of nulls that it has no message in the range. The session is named twice, so that the planner knows which
# one it is about: sessions differ in size by orders of magnitude.

AFTER = """
SELECT m."id", m."seq", m."content", m."localId", m."createdAt", m."updatedAt"
FROM "Session" AS s
LEFT JOIN LATERAL (
    SELECT * FROM "SessionMessage" WHERE "sessionId" = %(session)s AND "seq" > %(bound)s
    ORDER BY "seq" LIMIT %(limit)s
) AS m ON true
WHERE s."id" = %(session)s AND s."accountId" = %(account)s
ORDER BY m."seq"
"""

BEFORE = """
SELECT m."id", m."seq", m."content", m."localId", m."createdAt", m."updatedAt"
FROM "Session" AS s
LEFT JOIN LATERAL (
    SELECT * FROM "SessionMessage" WHERE "sessionId" = %(session)s AND "seq" < %(bound)s
    ORDER BY "seq" DESC LIMIT %(limit)s
) AS m ON true
WHERE s."id" = %(session)s AND s."accountId" = %(account)s
ORDER BY m."seq" DESC
"""


async def after(tx: Transaction, account: str, session: str, seq: int, limit: int) -> list[MessageRow] | None:
    """At most ``limit`` messages numbered above ``seq``, oldest first; None for a session not owned."""
    return await _page(tx, AFTER, {"account": account, "session": session, "bound": seq, "limit": limit})


async def before(
    tx: Transaction, account: str, session: str, seq: int, limit: int
) -> list[MessageRow] | None:
    """At most ``limit`` messages numbered below ``seq``, newest first; None for a session not owned."""
    return await _page(tx, BEFORE, {"account": account, "session": session, "bound": seq, "limit": limit})


async def _page(tx: Transaction, statement: str, parameters: Mapping[str, Any]) -> list[MessageRow] | None:
    rows = await tx.rows(statement, parameters)
    if not rows:
        return None
    return [MessageRow._make(row) for row in rows if row[0] is not None]
