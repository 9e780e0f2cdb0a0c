"""Sealed third-party credentials; sealing itself is the caller's business."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class SealedToken(NamedTuple):
    """A credential as it is stored."""

    vendor: str
    sealed: bytes


REGISTER = """
INSERT INTO "ServiceAccountToken" ("id", "accountId", "vendor", "token", "createdAt", "updatedAt")
VALUES (%(id)s, %(account)s, %(vendor)s, %(sealed)s, %(now)s, %(now)s)
ON CONFLICT ("accountId", "vendor") DO UPDATE
SET "token" = EXCLUDED."token", "updatedAt" = EXCLUDED."updatedAt"
"""

TOKEN = """
SELECT "token" FROM "ServiceAccountToken" WHERE "accountId" = %(account)s AND "vendor" = %(vendor)s
"""

LIST = """
SELECT "vendor", "token" FROM "ServiceAccountToken"
WHERE "accountId" = %(account)s ORDER BY "createdAt", "id" LIMIT 1000
"""

REMOVE = """
DELETE FROM "ServiceAccountToken" WHERE "accountId" = %(account)s AND "vendor" = %(vendor)s
"""


async def register(tx: Transaction, account: str, vendor: str, sealed: bytes) -> None:
    """Store the account's credential for a vendor, in the place of a former one."""
    values = {"id": cuid(tx.now), "account": account, "vendor": vendor, "sealed": sealed, "now": tx.now}
    await tx.run(REGISTER, values)


async def token(tx: Transaction, account: str, vendor: str) -> bytes | None:
    """The sealed credential, if there is one."""
    row = await tx.row(TOKEN, {"account": account, "vendor": vendor})
    return None if row is None else bytes(row[0])


async def all_of(tx: Transaction, account: str) -> list[SealedToken]:
    """The account's credentials in the order they were first stored."""
    return [SealedToken._make(row) for row in await tx.rows(LIST, {"account": account})]


async def remove(tx: Transaction, account: str, vendor: str) -> None:
    """Forget the credential, if there is one."""
    await tx.run(REMOVE, {"account": account, "vendor": vendor})
