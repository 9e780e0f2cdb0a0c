"""The account's feed of what happened to it (http.md 6.15)."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from happy.api.declare import Caller, Capability
from happy.api.pieces import Listing
from happy.api.structs import Query, Reply, Timestamp
from happy.base.errors import Refusal
from happy.realtime.updates import FeedContent, NewFeedPost, devices_of
from happy.storage import feed as storage
from happy.storage.large import Large
from happy.storage.transaction import Transaction

feed = Capability("feed")

_CURSOR = re.compile(r"0-([0-9]+)", re.ASCII)
_COUNTER_DIGITS = 18


class InvalidFeedCursor(Refusal):
    error = "Invalid cursor format"


class FeedQuery(Query):
    """Cursors are ``0-<counter>``; ``before`` wins over ``after``."""

    before: str | UnsetType = UNSET
    after: str | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class Item(Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    body: FeedContent
    repeat_key: str | None
    cursor: str
    created_at: Timestamp


class FeedItems(Reply):
    """``has_more`` tells of further items within the bounds that were asked for."""

    items: list[Item]
    has_more: bool


@feed.get("/v1/feed", refuses=(InvalidFeedCursor,))
async def read(tx: Transaction, caller: Caller, query: FeedQuery) -> Listing[FeedItems]:
    """The newest items before or after a cursor, newest first in either case."""
    bounds = {}
    if query.before is not UNSET:
        bounds["below"] = _counter(query.before)
    elif query.after is not UNSET:
        bounds["above"] = _counter(query.after)
    found = await storage.page(tx, caller.account, limit=query.limit + 1, **bounds)
    has_more = len(found.rows) > query.limit
    return Listing(
        page=found.first(query.limit),
        view=_item,
        reply=lambda items: FeedItems(items=items, has_more=has_more),
        again=lambda tx, ids: storage.named(tx, caller.account, ids),
    )


async def post(tx: Transaction, user: str, content: FeedContent, repeat_key: str | None) -> None:
    """Put ``content`` into a feed, replacing what has the same repeat key, and announce it."""
    row = await storage.add(tx, user, msgspec.to_builtins(content), repeat_key)
    announcement = NewFeedPost(
        id=row.id, body=content, cursor=_cursor(row), created_at=row.created_at, repeat_key=repeat_key
    )
    tx.publish(devices_of(user), announcement)


def _item(row: storage.FeedItem) -> Item:
    body: Any = row.body
    if not isinstance(body, Large):
        body = msgspec.json.decode(body, type=FeedContent)
    return Item(
        id=row.id,
        body=body,
        repeat_key=row.repeat_key,
        cursor=_cursor(row),
        created_at=row.created_at,
    )


def _cursor(row: storage.FeedItem) -> str:
    return f"0-{row.counter}"


def _counter(cursor: str) -> int:
    """The counter of a cursor, at most what a column holds. Raises :class:`InvalidFeedCursor`."""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidFeedCursor
    digits = found[1].lstrip("0") or "0"
    return int(digits) if len(digits) <= _COUNTER_DIGITS else storage.ABOVE_ALL
