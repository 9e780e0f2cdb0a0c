"""The items of an account's feed, numbered by the account's feed counter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from happy.base.ids import cuid
from happy.storage.large import Column, Kind, Page, Table
from happy.storage.types import Jsonb

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

ABOVE_ALL = 2**63 - 1
"""A counter that no item has."""


class FeedItem(NamedTuple):
    """An item; ``body`` is JSON text of a known kind, ``created_at`` epoch milliseconds."""

    id: str
    body: str
    repeat_key: str | None
    counter: int
    created_at: int


_KNOWN = """
CASE "body" ->> 'kind'
    WHEN 'text' THEN jsonb_typeof("body" -> 'text') = 'string'
    WHEN 'friend_request' THEN jsonb_typeof("body" -> 'uid') = 'string'
    WHEN 'friend_accepted' THEN jsonb_typeof("body" -> 'uid') = 'string'
    ELSE false
END
"""

_TABLE = Table(
    '"UserFeedItem"',
    FeedItem,
    '"id", "body", "repeatKey", "counter", "createdAt"',
    [Column('"body"', Kind.JSON)],
    '"userId" = %(user)s',
)
_NEWEST = 'ORDER BY "counter" DESC'

PAGE = _TABLE.measured(
    f"""
FROM "UserFeedItem"
WHERE "userId" = %(user)s AND "counter" > %(above)s AND "counter" < %(below)s AND {_KNOWN}
{_NEWEST} LIMIT %(limit)s
""",
    _NEWEST,
)

NAMED = _TABLE.again

REMOVE_REPEATED = """
DELETE FROM "UserFeedItem" WHERE "userId" = %(user)s AND "repeatKey" = %(key)s
"""

ADD = """
WITH "counted" AS (
    UPDATE "Account" SET "feedSeq" = "feedSeq" + 1, "updatedAt" = %(now)s WHERE "id" = %(user)s
    RETURNING "feedSeq"
)
INSERT INTO "UserFeedItem" ("id", "userId", "counter", "repeatKey", "body", "createdAt", "updatedAt")
SELECT %(id)s, %(user)s, "counted"."feedSeq", %(key)s, %(body)s, %(now)s, %(now)s FROM "counted"
RETURNING "id", "body", "repeatKey", "counter", "createdAt"
"""


async def page(
    tx: Transaction, user: str, *, above: int = -1, below: int = ABOVE_ALL, limit: int
) -> Page[FeedItem]:
    """The newest ``limit`` items of known kinds with counters between the bounds, newest first."""
    return await _TABLE.page(tx, PAGE, {"user": user, "above": above, "below": below, "limit": limit})


async def named(tx: Transaction, user: str, ids: Sequence[str]) -> Page[FeedItem]:
    """Those of the items that are there, in the order of ``ids``."""
    return await _TABLE.named(tx, ids, {"user": user})


async def add(tx: Transaction, user: str, body: Mapping[str, Any], repeat_key: str | None) -> FeedItem:
    """Add an item in the place of those with the same repeat key. The account has to exist."""
    values = {"id": cuid(tx.now), "user": user, "key": repeat_key, "body": Jsonb(body), "now": tx.now}
    if repeat_key is not None:
        await tx.run(REMOVE_REPEATED, values)
    row = await tx.row(ADD, values)
    assert row is not None
    return FeedItem(*row)
