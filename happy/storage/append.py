"""Appending messages: one call of ``happy_append_messages`` stores a batch (migration 0006)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

APPEND = """
SELECT o_row, o_new, o_id, o_seq, o_account_seq, o_created, o_updated
FROM happy_append_messages(
    %(accounts)s::text[], %(sessions)s::text[], %(local_ids)s::text[], %(ids)s::text[],
    %(contents)s::text[], %(now)s::timestamp(3), %(again)s
)
"""


class AppendRow(NamedTuple):
    """One message on its way into the database."""

    account: str
    session: str
    local_id: str | None
    id: str
    content: str


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


async def append(tx: Transaction, rows: Sequence[AppendRow], *, again: bool = False) -> list[AppendedRow]:
    """Store messages, numbering them in their sessions and accounts without gaps.

    ``rows`` are sorted by account and session, in order of arrival within a session. Those of unknown or
    foreign sessions are left out of the result. ``again`` tells that the same rows were sent before and may
    be stored; those that are come back as new, with the numbers they got then.
    """
    accounts, sessions, local_ids, ids, contents = (list(column) for column in zip(*rows, strict=True))
    stored = await tx.rows(
        APPEND,
        {
            "accounts": accounts,
            "sessions": sessions,
            "local_ids": local_ids,
            "ids": ids,
            "contents": contents,
            "now": tx.now,
            "again": again,
        },
    )
    now = int(tx.now)
    return [AppendedRow(*row[:5], *[now if time is None else time for time in row[5:]]) for row in stored]
