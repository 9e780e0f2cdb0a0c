"""Which master secrets the data was used with; none of them is here, only what verifies their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage import access
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class KnownSecret(NamedTuple):
    """A master secret by its public key (32 bytes); times in epoch milliseconds.

    ``since`` is None for one that is prepared to follow, ``until`` for one whose tokens count without an end.
    ``grace`` and ``former`` are a prepared one's: how many milliseconds the tokens before will still count,
    and the vault key before, sealed.
    """

    public_key: bytes
    since: int | None
    until: int | None
    grace: int | None
    former: bytes | None

    @property
    def in_use(self) -> bool:
        """Whether it is the one that the data belongs to."""
        return self.since is not None and self.until is None


class SealedRow(NamedTuple):
    """A sealed credential, and what it is sealed for: a vendor, or None for a GitHub user's token."""

    id: str
    account: str
    vendor: str | None
    sealed: bytes


TABLE = """
SELECT to_regclass('"happy_secrets"') IS NOT NULL
"""

ANYBODY = """
SELECT EXISTS (SELECT 1 FROM "Account")
"""

_ALONE = 'LOCK TABLE "happy_secrets" IN SHARE ROW EXCLUSIVE MODE'

LIST = """
SELECT "publicKey", "since", "until", "grace", "former" FROM "happy_secrets" ORDER BY "createdAt", "publicKey"
"""

RETIRE = """
UPDATE "happy_secrets" SET "until" = %(until)s WHERE "since" IS NOT NULL AND "until" IS NULL
"""

USE = """
INSERT INTO "happy_secrets" ("publicKey", "createdAt", "since") VALUES (%(key)s, %(now)s, %(now)s)
ON CONFLICT ("publicKey") DO UPDATE SET "since" = %(now)s, "until" = NULL, "grace" = NULL, "former" = NULL
"""

UNTIL = """
SELECT "until" FROM "happy_secrets" WHERE "publicKey" = %(key)s
"""

HOLD = """
SELECT "until" FROM "happy_secrets" WHERE "publicKey" = %(key)s FOR SHARE
"""

FORGET_PREPARED = """
DELETE FROM "happy_secrets" WHERE "since" IS NULL
"""

PREPARE = """
INSERT INTO "happy_secrets" ("publicKey", "createdAt", "grace", "former")
VALUES (%(key)s, %(now)s, %(grace)s, %(former)s)
"""

SEALED_OF_ACCOUNT = """
SELECT "id", "accountId", "vendor", "token" FROM "ServiceAccountToken" WHERE "accountId" = %(account)s
UNION ALL
SELECT "user"."id", "Account"."id", NULL, "user"."token" FROM "GithubUser" AS "user"
JOIN "Account" ON "Account"."githubUserId" = "user"."id"
WHERE "Account"."id" = %(account)s AND "user"."token" IS NOT NULL
"""

FORGET_FOR_VENDOR = """
DELETE FROM "ServiceAccountToken" WHERE "id" = %(id)s
"""

FORGET_OF_GITHUB = """
UPDATE "GithubUser" SET "token" = NULL WHERE "id" = %(id)s
"""

SEALED_FOR_VENDORS = """
SELECT "id", "accountId", "vendor", "token" FROM "ServiceAccountToken" WHERE "id" > %(after)s
ORDER BY "id" LIMIT 500
"""

SEALED_OF_GITHUB = """
SELECT "user"."id", "Account"."id", NULL, "user"."token" FROM "GithubUser" AS "user"
JOIN "Account" ON "Account"."githubUserId" = "user"."id"
WHERE "user"."id" > %(after)s AND "user"."token" IS NOT NULL ORDER BY "user"."id" LIMIT 500
"""

RESEAL_FOR_VENDOR = """
UPDATE "ServiceAccountToken" SET "token" = %(sealed)s WHERE "id" = %(id)s
"""

RESEAL_OF_GITHUB = """
UPDATE "GithubUser" SET "token" = %(sealed)s WHERE "id" = %(id)s
"""


async def known(tx: Transaction, *, alone: bool = False) -> list[KnownSecret]:
    """Every secret, the oldest first. Who asks ``alone`` is the only one who changes them."""
    if alone:
        await tx.run(_ALONE)
    return [KnownSecret._make(row) for row in await tx.rows(LIST)]


async def recorded(tx: Transaction) -> bool:
    """Whether the database has the table of them, which one that the original made has not."""
    ((there,),) = await tx.rows(TABLE)
    return bool(there)


async def anybody(tx: Transaction) -> bool:
    """Whether there is an account, whose tokens come from some secret."""
    ((there,),) = await tx.rows(ANYBODY)
    return bool(there)


async def use(tx: Transaction, public_key: bytes, former_until: int) -> None:
    """Let this secret be the one in use; tokens of the former count until then (epoch milliseconds)."""
    await tx.run(RETIRE, {"until": Millis(former_until)})
    await tx.run(USE, {"key": public_key, "now": tx.now})
    await access.changed(tx)


async def prepare(tx: Transaction, public_key: bytes, grace: int, former: bytes) -> None:
    """Let a secret be the next one, in the place of another that was prepared and not used."""
    await tx.run(FORGET_PREPARED)
    await tx.run(PREPARE, {"key": public_key, "now": tx.now, "grace": grace, "former": former})
    await access.changed(tx)


async def replaced(tx: Transaction, public_key: bytes, *, hold: bool = False) -> bool:
    """Whether another secret is in use instead; if wanted, none will be before the transaction ends."""
    row = await tx.row(HOLD if hold else UNTIL, {"key": public_key})
    return row is not None and row[0] is not None


async def sealed_for_vendors(tx: Transaction, after: str) -> Sequence[SealedRow]:
    """The next of all vendors' credentials in the order of their ids."""
    return [SealedRow._make(row) for row in await tx.rows(SEALED_FOR_VENDORS, {"after": after})]


async def sealed_of_github(tx: Transaction, after: str) -> Sequence[SealedRow]:
    """The next of all tokens of GitHub users who are linked to an account."""
    return [SealedRow._make(row) for row in await tx.rows(SEALED_OF_GITHUB, {"after": after})]


async def reseal(tx: Transaction, row: SealedRow, sealed: bytes) -> None:
    """Put the credential in another form in the place of the former."""
    sql = RESEAL_OF_GITHUB if row.vendor is None else RESEAL_FOR_VENDOR
    await tx.run(sql, {"id": row.id, "sealed": sealed})


async def sealed_of_account(tx: Transaction, account: str) -> Sequence[SealedRow]:
    """All that is sealed for one account."""
    return [SealedRow._make(row) for row in await tx.rows(SEALED_OF_ACCOUNT, {"account": account})]


async def forget_sealed(tx: Transaction, row: SealedRow) -> None:
    """Remove what cannot be opened."""
    await tx.run(FORGET_OF_GITHUB if row.vendor is None else FORGET_FOR_VENDOR, {"id": row.id})
