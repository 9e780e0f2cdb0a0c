"""Appending messages, a batch at a time, each exactly once (migration 0007).

Appending commits by itself, and its answer may be lost. So each batch leaves a note in the same transaction:
who wrote it, which of the writer's batches it was, and which of the accounts' numbers it took. When the
answer is lost, the note is looked for; when there is none, one is left that keeps the batch from being stored
ever after, should it still be on its way. That stays true when PostgreSQL dies in between, and whoever else
writes to the same accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from happy.storage.types import Millis, Texts

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

# Without a cast, a condition or names of columns, each of which PostgreSQL would have to understand anew for
# every batch.
APPEND = """
SELECT * FROM happy_append_messages(
    %(writer)s, %(batch)s, %(accounts)s, %(sessions)s, %(local_ids)s, %(ids)s, %(contents)s, %(now)s
)
"""

APPEND_NOTED = """
SELECT * FROM happy_append_noted(
    %(writer)s, %(batch)s, %(accounts)s, %(sessions)s, %(local_ids)s, %(ids)s, %(contents)s, %(now)s,
    %(skips)s
)
"""

GIVE_UP = """
INSERT INTO "happy_appended" AS "last" ("writer", "batch", "at") VALUES (%(writer)s, %(batch)s, %(now)s)
ON CONFLICT ("writer") DO UPDATE
SET "batch" = EXCLUDED."batch",
    "numbers" = CASE WHEN "last"."batch" = EXCLUDED."batch" THEN "last"."numbers" END,
    "rows" = CASE WHEN "last"."batch" = EXCLUDED."batch" THEN "last"."rows" END,
    "at" = EXCLUDED."at"
WHERE "last"."batch" <= EXCLUDED."batch"
RETURNING "numbers", "rows"
"""
"""What was stored stays so. One that comes late, after the writer went on, has no effect."""

FIND = """
SELECT o_row, o_new, o_id, o_seq, o_account_seq, o_created, o_updated
FROM happy_find_appended(
    %(accounts)s::text[], %(sessions)s::text[], %(local_ids)s::text[], %(ids)s::text[],
    %(numbers)s::integer[], %(rows)s::integer[]
)
"""

FORGET_WRITERS = """
DELETE FROM "happy_appended" WHERE "at" < %s
"""

_KEPT = 7 * 86_400_000
_MANY = 8

_NAMED = ("accounts", "sessions", "local_ids", "ids")
_STORED = (*_NAMED, "contents")
_NOTED = (*_STORED, "skips")
"""The columns of :class:`AppendRow`: those that say which message it is, what is stored, and all."""


class AppendRow(NamedTuple):
    """One message on its way into the database."""

    account: str
    session: str
    local_id: str | None
    id: str
    content: str
    skip: str | None = None
    """The id of the socket that is not told of it."""


class AppendedRow(NamedTuple):
    """What became of the ``row``-th message, counted from 1: stored now, or found by its local id.

    ``account_seq`` is None for one that was found. Times are epoch ms.
    """

    row: int
    new: bool
    id: str
    seq: int
    account_seq: int | None
    created_at: int
    updated_at: int


async def append(
    tx: Transaction, writer: str, batch: int, rows: Sequence[AppendRow], *, noted: bool
) -> list[AppendedRow]:
    """Store the ``batch``-th batch of a :class:`~happy.storage.writer.Writer`, ``noted`` in the log."""
    columns = _columns(_NOTED if noted else _STORED, rows)
    parameters = {"writer": writer, "batch": batch, "now": tx.now, **columns}
    stored, now = await tx.rows(APPEND_NOTED if noted else APPEND, parameters), int(tx.now)
    return [
        AppendedRow._make(row if row[-1] is not None else (*row[:5], now, now))
        for row in stored
        if row[0] is not None  # Where nothing is stored, one row stands for none.
    ]


async def find_or_give_up(
    tx: Transaction, writer: str, batch: int, rows: Sequence[AppendRow]
) -> list[AppendedRow] | None:
    """What :func:`append` answered for the writer's latest batch.

    None if it was not stored; it cannot be any more.
    """
    noted = await tx.row(GIVE_UP, {"writer": writer, "batch": batch, "now": tx.now})
    assert noted is not None
    numbers, which = noted
    if numbers is None:
        return None
    found = await tx.rows(FIND, {**_columns(_NAMED, rows), "numbers": numbers, "rows": which})
    return [AppendedRow._make(row) for row in found]


async def forget_writers(tx: Transaction) -> None:
    """Remove what writers left behind that ended long ago."""
    await tx.run(FORGET_WRITERS, (Millis(tx.now - _KEPT),))


def _columns(names: Sequence[str], rows: Sequence[AppendRow]) -> dict[str, list[Any]]:
    """The first columns of the rows, by what statements call them; few texts are sooner made into a list."""
    texts = Texts if len(rows) >= _MANY else list
    return dict(zip(names, map(texts, zip(*rows, strict=True)), strict=False))
