"""Pending device links: a terminal, or another device of the same person, waits for an approval.

A row is alive for 30 minutes after the waiting side last asked, and for 5 minutes after its approval;
a dead row counts as absent until it is made anew or purged (http.md D8). ``updatedAt`` carries the
time of the latest poll, noted once a minute, and finally that of the approval.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

MINUTE = 60_000
UNPOLLED_LIFETIME = 30 * MINUTE
APPROVED_LIFETIME = 5 * MINUTE
POLL_GRAIN = MINUTE
"""How much later than noted the latest poll may have been, in ms."""

_WAITING = """coalesce("response", '') = ''"""
_ALIVE = (
    f""""updatedAt" > CASE WHEN {_WAITING} THEN %(unpolled)s::timestamp ELSE %(approved)s::timestamp END"""
)

FIND_TERMINAL = f"""
SELECT "id", "response", "responseAccountId", "updatedAt", "supportsV2" FROM "TerminalAuthRequest"
WHERE "publicKey" = %(key)s AND {_ALIVE}
"""

FIND_ACCOUNT = f"""
SELECT "id", "response", "responseAccountId", "updatedAt", false FROM "AccountAuthRequest"
WHERE "publicKey" = %(key)s AND {_ALIVE}
"""

START_TERMINAL = f"""
INSERT INTO "TerminalAuthRequest" AS r ("id", "publicKey", "supportsV2", "createdAt", "updatedAt")
VALUES (%(id)s, %(key)s, %(supports_v2)s, %(now)s, %(now)s)
ON CONFLICT ("publicKey") DO UPDATE
SET "id" = EXCLUDED."id", "response" = NULL, "responseAccountId" = NULL,
    "supportsV2" = EXCLUDED."supportsV2", "createdAt" = EXCLUDED."createdAt",
    "updatedAt" = EXCLUDED."updatedAt"
WHERE NOT (r.{_ALIVE.replace('"response"', 'r."response"')})
"""

START_ACCOUNT = f"""
INSERT INTO "AccountAuthRequest" AS r ("id", "publicKey", "createdAt", "updatedAt")
VALUES (%(id)s, %(key)s, %(now)s, %(now)s)
ON CONFLICT ("publicKey") DO UPDATE
SET "id" = EXCLUDED."id", "response" = NULL, "responseAccountId" = NULL,
    "createdAt" = EXCLUDED."createdAt", "updatedAt" = EXCLUDED."updatedAt"
WHERE NOT (r.{_ALIVE.replace('"response"', 'r."response"')})
"""

NOTE_POLL_TERMINAL = f"""
UPDATE "TerminalAuthRequest" SET "updatedAt" = %(now)s WHERE "publicKey" = %(key)s AND {_WAITING}
"""

NOTE_POLL_ACCOUNT = f"""
UPDATE "AccountAuthRequest" SET "updatedAt" = %(now)s WHERE "publicKey" = %(key)s AND {_WAITING}
"""

APPROVE_TERMINAL = f"""
UPDATE "TerminalAuthRequest"
SET "response" = %(response)s, "responseAccountId" = %(account)s, "updatedAt" = %(now)s
WHERE "publicKey" = %(key)s AND {_WAITING} AND {_ALIVE}
"""

APPROVE_ACCOUNT = f"""
UPDATE "AccountAuthRequest"
SET "response" = %(response)s, "responseAccountId" = %(account)s, "updatedAt" = %(now)s
WHERE "publicKey" = %(key)s AND {_WAITING} AND {_ALIVE}
"""

PURGE_TERMINAL = f"""
WITH gone AS (
  DELETE FROM "TerminalAuthRequest" WHERE "updatedAt" <= %(approved)s AND NOT ({_ALIVE})
  RETURNING {_WAITING} AS waiting
)
SELECT count(*), count(*) FILTER (WHERE waiting) FROM gone
"""

PURGE_ACCOUNT = f"""
WITH gone AS (
  DELETE FROM "AccountAuthRequest" WHERE "updatedAt" <= %(approved)s AND NOT ({_ALIVE})
  RETURNING {_WAITING} AS waiting
)
SELECT count(*), count(*) FILTER (WHERE waiting) FROM gone
"""


class _Statements(NamedTuple):
    find: str
    start: str
    note_poll: str
    approve: str
    purge: str


class LinkKind(Enum):
    """What is being linked: a terminal, or another device to the same account."""

    TERMINAL = _Statements(
        FIND_TERMINAL, START_TERMINAL, NOTE_POLL_TERMINAL, APPROVE_TERMINAL, PURGE_TERMINAL
    )
    ACCOUNT = _Statements(FIND_ACCOUNT, START_ACCOUNT, NOTE_POLL_ACCOUNT, APPROVE_ACCOUNT, PURGE_ACCOUNT)


class LinkRequest(NamedTuple):
    """A live request; ``updated_at`` (ms) is the noted time of the latest poll or of the approval."""

    id: str
    response: str | None
    account: str | None
    updated_at: int
    supports_v2: bool

    @property
    def answer(self) -> tuple[str, str] | None:
        """The account that was given, and its response; None also when that account is gone."""
        return (self.account, self.response) if self.response and self.account is not None else None

    @property
    def waiting(self) -> bool:
        """Whether an approval would still be accepted."""
        return not self.response


async def find(tx: Transaction, kind: LinkKind, public_key: str) -> LinkRequest | None:
    """The live request for that key (upper-case hex)."""
    row = await tx.row(kind.value.find, {"key": public_key, **_bounds(tx)})
    return None if row is None else LinkRequest._make(row)


async def poll(tx: Transaction, kind: LinkKind, public_key: str, supports_v2: bool) -> LinkRequest:
    """The live request for that key, which is made if there is none.

    Notes the poll; the flag counts only when the request is made.
    """
    if (request := await find(tx, kind, public_key)) is None:
        values = {"id": cuid(tx.now), "key": public_key, "supports_v2": supports_v2, "now": tx.now}
        await tx.run(kind.value.start, values | _bounds(tx))
        request = await find(tx, kind, public_key)
        assert request is not None
    elif request.waiting:
        await tx.run(kind.value.note_poll, {"key": public_key, "now": tx.now})
    return request


async def approve(tx: Transaction, kind: LinkKind, public_key: str, response: str, account: str) -> bool:
    """Answer the request in the account's name; False when there is none.

    The first response that is not empty stays: a later one changes nothing.
    """
    values = {"key": public_key, "response": response, "account": account, "now": tx.now}
    if await tx.run(kind.value.approve, values | _bounds(tx)):
        return True
    return await find(tx, kind, public_key) is not None


class Purged(NamedTuple):
    """How many dead requests were deleted, and how many of these nobody had answered."""

    all: int
    unanswered: int


async def purge(tx: Transaction) -> Purged:
    """Delete the dead requests of every kind, however many."""
    await tx.take_time()
    counts = [await tx.row(kind.value.purge, _bounds(tx)) or (0, 0) for kind in LinkKind]
    return Purged(*map(sum, zip(*counts, strict=True)))


def _bounds(tx: Transaction) -> dict[str, Millis]:
    """The times before which requests are dead."""
    return {"unpolled": Millis(tx.now - UNPOLLED_LIFETIME), "approved": Millis(tx.now - APPROVED_LIFETIME)}
