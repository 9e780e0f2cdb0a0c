"""Device tokens of the push service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class PushToken(NamedTuple):
    """A registered device; times in ms."""

    id: str
    token: str
    created_at: int
    updated_at: int


REGISTER = """
INSERT INTO "AccountPushToken" ("id", "accountId", "token", "createdAt", "updatedAt")
VALUES (%(id)s, %(account)s, %(token)s, %(now)s, %(now)s)
ON CONFLICT ("accountId", "token") DO UPDATE SET "updatedAt" = EXCLUDED."updatedAt"
"""

MOST = 100
"""Devices of an account: those that were refreshed last."""

FORGET_OTHERS = """
DELETE FROM "AccountPushToken" WHERE "id" IN (
    SELECT "id" FROM "AccountPushToken" WHERE "accountId" = %(account)s
    ORDER BY "updatedAt" DESC, "id" DESC OFFSET %(most)s
)
"""

TAKE_FROM_OTHERS = """
DELETE FROM "AccountPushToken" WHERE "token" = %(token)s AND "accountId" <> %(account)s
"""

LIST = """
SELECT "id", "token", "createdAt", "updatedAt" FROM "AccountPushToken"
WHERE "accountId" = %(account)s ORDER BY "createdAt" DESC, "id" DESC LIMIT %(limit)s
"""

REMOVE = """
DELETE FROM "AccountPushToken" WHERE "accountId" = %(account)s AND "token" = ANY (%(tokens)s::text[])
"""


async def register(tx: Transaction, account: str, token: str) -> None:
    """Store a device token, or refresh it. It belongs to this account alone from now on (D26).

    Of more than :data:`MOST`, those go that were not refreshed for longest.
    """
    await tx.run(TAKE_FROM_OTHERS, {"account": account, "token": token})
    await tx.run(REGISTER, {"id": cuid(tx.now), "account": account, "token": token, "now": tx.now})
    await tx.run(FORGET_OTHERS, {"account": account, "most": MOST})


async def newest(tx: Transaction, account: str, limit: int) -> list[PushToken]:
    """At most ``limit`` devices of the account, the latest registered first."""
    return [PushToken._make(row) for row in await tx.rows(LIST, {"account": account, "limit": limit})]


async def remove(tx: Transaction, account: str, tokens: Sequence[str]) -> int:
    """Forget device tokens of the account; returns how many were stored."""
    return await tx.run(REMOVE, {"account": account, "tokens": list(tokens)})
