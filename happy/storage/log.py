"""The log of updates: what another node reads that missed some (migration 0009).

Whoever takes a number of an account holds the account's row until the commit, and writes the number's row in
the same transaction. So whoever sees a number taken sees its row, and every row before it: a number without a
row was written by somebody who does not write the log, or long ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Note, Transaction

NOTE = """
INSERT INTO "happy_updates" ("account", "seq", "at", "size", "session", "machine", "skip", "text")
SELECT n."account", n."seq", %s, length(n."text"), n."session", n."machine", n."skip", n."text"
  FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::text[])
       AS n("account", "seq", "session", "machine", "skip", "text")
"""

# The rows are taken from their index, in order, until they are many or large; the first is taken anyway.
# "top" is what the account's number was when this was read. What is large is left out.
FILL = """
SELECT h."account", a."seq" AS "top", u."size", u."text" IS NOT NULL OR m."id" IS NOT NULL,
       u."seq", u."session", u."machine", u."skip", CASE WHEN u."size" <= %(whole)s THEN u."text" END,
       m."id", m."seq", m."localId", CASE WHEN u."size" <= %(whole)s THEN m."content" ->> 'c' ELSE '' END,
       m."createdAt", m."updatedAt"
  FROM unnest(%(accounts)s::text[], %(nexts)s::integer[]) AS h("account", "next")
  JOIN "Account" AS a ON a."id" = h."account"
  LEFT JOIN LATERAL (
       SELECT r.* FROM (
           SELECT l.*, sum(l."size") OVER (ORDER BY l."seq") AS "total"
             FROM (SELECT * FROM "happy_updates" WHERE "account" = h."account" AND "seq" >= h."next"
                    ORDER BY "seq" LIMIT %(rows)s) AS l
       ) AS r WHERE r."total" - r."size" < %(bytes)s
  ) AS u ON true
  LEFT JOIN "SessionMessage" AS m ON m."id" = u."message"
 ORDER BY h."account", u."seq"
"""

PART_OF_TEXT = """
SELECT substr("text", %s, %s) FROM "happy_updates" WHERE "account" = %s AND "seq" = %s
"""

PART_OF_MESSAGE = """
SELECT substr("content" ->> 'c', %s, %s) FROM "SessionMessage" WHERE "id" = %s
"""

MOVED = """
SELECT h."account", a."seq"
  FROM unnest(%s::text[], %s::integer[]) AS h("account", "next") JOIN "Account" AS a ON a."id" = h."account"
 WHERE a."seq" <> h."next" - 1
"""

NUMBERS = """
SELECT "id", "seq" FROM "Account" WHERE "id" = ANY (%s::text[])
"""

# One at a time does this, whoever comes first; a node whose clock is ahead must not take what others need.
TRIM = """
DELETE FROM "happy_updates" WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "happy_updates"
     WHERE "at" < least(%s, now() AT TIME ZONE 'UTC' - %s * interval '1 ms')
       AND pg_try_advisory_xact_lock(7307199750011) LIMIT %s
))
"""

STARTED = """
SELECT pg_postmaster_start_time()::text
"""

FILL_ROWS: Final = 500
FILL_BYTES: Final = 256 * 1024
"""What is read of one account at a time, besides a row that is larger."""

PART: Final = 4 * 1024 * 1024
"""Characters of a text, or bytes of a message, that are read at a time: some milliseconds of the driver's."""

KEPT_MS: Final = 180_000
TRIM_ROWS: Final = 5_000


class NotedMessage(NamedTuple):
    """The message that an update tells of; times are epoch ms."""

    id: str
    seq: int
    local_id: str | None
    content: str
    created_at: int
    updated_at: int


class Noted(NamedTuple):
    """A row of the log. Without ``text`` it tells of ``message``, which is None if that is gone by now.

    What is ``large`` is left out: see :func:`part`.
    """

    seq: int
    session: str | None
    machine: str | None
    skip: str | None
    text: str | None
    message: NotedMessage | None
    large: bool = False


class Gap(NamedTuple):
    """What the log has of an account from some number on.

    ``rows`` are all there are up to ``covered``; ``top`` is the account's number, greater than ``covered`` if
    there is more to read.
    """

    top: int
    covered: int
    rows: list[Noted]


def note_parameters(notes: Sequence[Note], now: Millis) -> list[Any]:
    """The parameters of NOTE."""
    accounts, seqs, sessions, machines, skips, texts = map(list, zip(*notes, strict=True))
    return [now, accounts, seqs, sessions, machines, skips, texts]


async def fill(tx: Transaction, nexts: Sequence[tuple[str, int]]) -> dict[str, Gap]:
    """What the log has of accounts, each from its number on; accounts that are gone are left out."""
    accounts, numbers = map(list, zip(*nexts, strict=True))
    bounds = {"rows": FILL_ROWS, "bytes": FILL_BYTES, "whole": PART}
    parameters = {"accounts": accounts, "nexts": numbers, **bounds}
    gaps: dict[str, Gap] = {}
    sizes: Counter[str] = Counter()
    for account, top, size, there, *row in await tx.rows(FILL, parameters):
        gap = gaps.setdefault(account, Gap(top, top, []))
        if size is None:
            continue
        gap.rows.append(_noted(row, large=there and size > PART))
        sizes[account] += size
        if len(gap.rows) == FILL_ROWS or sizes[account] >= FILL_BYTES:  # there may be more
            gaps[account] = gap._replace(covered=gap.rows[-1].seq)
    return gaps


async def part(tx: Transaction, account: str, row: Noted, start: int) -> str | None:
    """What a large row's text has from a character on, less than PART at its end; None if it is gone."""
    if row.message is None:
        found = await tx.row(PART_OF_TEXT, (start + 1, PART, account, row.seq))
    else:
        found = await tx.row(PART_OF_MESSAGE, (start + 1, PART, row.message.id))
    return None if found is None else found[0]


async def moved(tx: Transaction, nexts: Sequence[tuple[str, int]]) -> list[str]:
    """Those of the accounts whose next number is another one than this."""
    accounts, numbers = map(list, zip(*nexts, strict=True))
    return [account for account, _ in await tx.rows(MOVED, (accounts, numbers))]


async def numbers(tx: Transaction, accounts: Sequence[str]) -> dict[str, int]:
    """The latest number of each account that exists."""
    return dict(await tx.rows(NUMBERS, (list(accounts),)))


async def server(tx: Transaction) -> str:
    """Another text after PostgreSQL was restarted, or another server has taken over."""
    row = await tx.row(STARTED)
    return "" if row is None else str(row[0])


async def trim(tx: Transaction) -> int:
    """Remove rows that are old enough, a limited number; answers how many were."""
    return await tx.run(TRIM, (Millis(tx.now - KEPT_MS), KEPT_MS, TRIM_ROWS))


def _noted(row: Sequence[Any], *, large: bool) -> Noted:
    message = None if row[5] is None else NotedMessage(*row[5:])
    seq, session, machine, skip, text = row[:5]
    return Noted(seq, session, machine, skip, text, message, large)
