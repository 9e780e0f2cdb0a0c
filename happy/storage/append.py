"""Appending messages: one call of ``happy_append_messages`` stores a batch (migration 0003)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

APPEND = """
SELECT txid_current(), o_row, o_new, o_id, o_seq, o_account_seq, o_created, o_updated
FROM happy_append_messages(
    %(accounts)s::text[], %(sessions)s::text[], %(local_ids)s::text[], %(ids)s::text[],
    %(contents)s::text[], %(now)s
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
    """What became of a row: stored now, or found by its local id. Times are epoch ms."""

    transaction: int
    row: int
    new: bool
    id: str
    seq: int
    account_seq: int | None
    created_at: int
    updated_at: int


def parameters(rows: Sequence[AppendRow], now: object) -> dict[str, object]:
    """The statement's parameters for rows sorted by account and session; ``row`` counts from 1."""
    columns = list(zip(*rows, strict=True))
    accounts, sessions, local_ids, ids, contents = (list(column) for column in columns)
    return {
        "accounts": accounts,
        "sessions": sessions,
        "local_ids": local_ids,
        "ids": ids,
        "contents": contents,
        "now": now,
    }
