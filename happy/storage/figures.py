"""Numbers that an operator looks at: exact where that is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from happy.storage.auth_requests import UNPOLLED_LIFETIME
from happy.storage.retention import REMOVED
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

FIGURES = """
SELECT
  (SELECT count(*) FROM "Account" WHERE "id" <> %(removed)s),
  (SELECT count(*) FROM "TerminalAuthRequest"
    WHERE coalesce("response", '') = '' AND "updatedAt" > %(unpolled)s::timestamp)
  + (SELECT count(*) FROM "AccountAuthRequest"
    WHERE coalesce("response", '') = '' AND "updatedAt" > %(unpolled)s::timestamp),
  pg_database_size(current_database()),
  current_setting('server_version')
"""


class Figures(NamedTuple):
    """``accounts``, ``pairings`` that wait to be answered, the size of the database in bytes, its version."""

    accounts: int
    pairings: int
    database_bytes: int
    postgres: str


async def figures(tx: Transaction) -> Figures:
    """Count. Accounts are counted one by one, in an index, and there are few pairings at any time."""
    row = await tx.row(FIGURES, {"unpolled": Millis(tx.now - UNPOLLED_LIFETIME), "removed": REMOVED})
    assert row is not None
    return Figures._make(row)
