"""Stored messages of a session: what is appended, what is read back, and the pages in between.

Appending is the group committer's business; this module holds the records it takes and returns, and the
readers. Message numbers count within a session; contents stay sealed and unparsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage.large import Column, Kind, Page, Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from happy.storage.transaction import Transaction

BEYOND_ALL = 2**31
"""Larger than every message number (schema.md 1)."""


class IncomingMessage(NamedTuple):
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

_COLUMNS = '"id", "seq", "content", "localId", "createdAt", "updatedAt"'

_TABLE = Table(
    '"SessionMessage"',
    MessageRow,
    _COLUMNS,
    [Column('"content"', Kind.JSON)],
    '"sessionId" = %(session)s',
)


def _page(range_: str, order: str) -> str:
    """The messages of a session in this range and order."""
    return _TABLE.measured(
        f"""
FROM (
    SELECT m.* FROM "Session" AS s
    LEFT JOIN LATERAL (
        SELECT * FROM "SessionMessage" WHERE "sessionId" = %(session)s AND {range_} {order} LIMIT %(limit)s
    ) AS m ON true
    WHERE s."id" = %(session)s AND s."accountId" = %(account)s
) AS "found" {order}
""",
        order,
    )


AFTER = _page('"seq" > %(bound)s', 'ORDER BY "seq"')

BEFORE = _page('"seq" < %(bound)s', 'ORDER BY "seq" DESC')

NAMED = _TABLE.again


async def after(tx: Transaction, account: str, session: str, seq: int, limit: int) -> Page[MessageRow] | None:
    """At most ``limit`` messages numbered above ``seq``, oldest first; None for a session not owned."""
    return await _found(tx, AFTER, {"account": account, "session": session, "bound": seq, "limit": limit})


async def before(
    tx: Transaction, account: str, session: str, seq: int, limit: int
) -> Page[MessageRow] | None:
    """At most ``limit`` messages numbered below ``seq``, newest first; None for a session not owned."""
    return await _found(tx, BEFORE, {"account": account, "session": session, "bound": seq, "limit": limit})


async def named(tx: Transaction, session: str, ids: Sequence[str]) -> Page[MessageRow]:
    """Those of the session's messages that are there, in the order of ``ids``."""
    return await _TABLE.named(tx, ids, {"session": session})


async def _found(tx: Transaction, statement: str, parameters: Mapping[str, Any]) -> Page[MessageRow] | None:
    page = await _TABLE.page(tx, statement, parameters)
    if not page.rows:
        return None
    return page.first(0) if page.rows[0].id is None else page
