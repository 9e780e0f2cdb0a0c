"""What the operator says of accounts, their pairings and their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

VERSION = """
SELECT "version" FROM "happy_access"
"""

CHANGED = """
INSERT INTO "happy_access" AS a ("version") VALUES (1)
ON CONFLICT ("id") DO UPDATE SET "version" = a."version" + 1
"""

ACCOUNTS = """
SELECT "accountId", "disabledAt", "revokedAt" FROM "happy_accounts"
"""

REVOKED_PAIRINGS = """
SELECT "id", "accountId" FROM "happy_pairings" WHERE "revokedAt" IS NOT NULL
"""

DISABLE = """
INSERT INTO "happy_accounts" AS a ("accountId", "disabledAt") VALUES (%(account)s, %(now)s)
ON CONFLICT ("accountId") DO UPDATE SET "disabledAt" = coalesce(a."disabledAt", EXCLUDED."disabledAt")
"""

ENABLE = """
UPDATE "happy_accounts" SET "disabledAt" = NULL WHERE "accountId" = %(account)s
"""

REVOKE = """
INSERT INTO "happy_accounts" ("accountId", "revokedAt") VALUES (%(account)s, %(now)s)
ON CONFLICT ("accountId") DO UPDATE SET "revokedAt" = EXCLUDED."revokedAt"
"""

REVOKE_PAIRINGS = """
UPDATE "happy_pairings" SET "revokedAt" = coalesce("revokedAt", %(now)s)
WHERE "accountId" = %(account)s AND "id" = ANY (%(pairings)s::text[])
"""

FORGET_TERMINALS = """
DELETE FROM "TerminalAuthRequest" WHERE "responseAccountId" = %(account)s AND coalesce("response", '') <> ''
AND (%(pairings)s::text[] IS NULL OR "id" = ANY (%(pairings)s::text[]))
"""

FORGET_DEVICES = """
DELETE FROM "AccountAuthRequest" WHERE "responseAccountId" = %(account)s AND coalesce("response", '') <> ''
"""

PAIRED = """
INSERT INTO "happy_pairings" ("id", "accountId", "createdAt")
SELECT "id", %(account)s, %(now)s FROM "TerminalAuthRequest"
WHERE "publicKey" = %(key)s AND "responseAccountId" = %(account)s AND coalesce("response", '') <> ''
ON CONFLICT ("id") DO NOTHING
"""

SEEN = """
INSERT INTO "happy_pairings" AS p ("id", "accountId", "createdAt", "seenAt", "machineId")
SELECT s."id", a."id", s."issued", s."seen", s."machine"
FROM unnest(%(ids)s::text[], %(accounts)s::text[], %(issued)s::timestamp[], %(seen)s::timestamp[],
            %(machines)s::text[]) AS s ("id", "account", "issued", "seen", "machine")
JOIN "Account" AS a ON a."id" = s."account"
ON CONFLICT ("id") DO UPDATE SET
    "seenAt" = greatest(p."seenAt", EXCLUDED."seenAt"),
    "machineId" = coalesce(EXCLUDED."machineId", p."machineId")
WHERE p."accountId" = EXCLUDED."accountId"
"""

PAIRINGS = """
SELECT "id", "createdAt", "seenAt", "machineId", "revokedAt" FROM "happy_pairings"
WHERE "accountId" = %(account)s ORDER BY "createdAt" DESC, "id"
"""


class Standing(NamedTuple):
    """What the operator has said of an account (ms)."""

    account: str
    disabled_at: int | None
    revoked_at: int | None


class Pairing(NamedTuple):
    """A terminal that was let into an account; times in ms. ``machine`` is known once it has connected."""

    id: str
    created_at: int
    seen_at: int | None
    machine: str | None
    revoked_at: int | None


class Sighting(NamedTuple):
    """A pairing's token that connected; times in ms."""

    id: str
    account: str
    issued_at: int
    seen_at: int
    machine: str | None


async def version(tx: Transaction) -> int | None:
    """A number that grows with every change; None in a database that has lost its row of what was said."""
    row = await tx.row(VERSION)
    return None if row is None else int(row[0])


async def said(tx: Transaction) -> list[Standing]:
    """All that was said of accounts."""
    return [Standing._make(row) for row in await tx.rows(ACCOUNTS)]


async def revoked_pairings(tx: Transaction) -> dict[str, str]:
    """The pairings whose tokens are refused, each with its account."""
    return dict(await tx.rows(REVOKED_PAIRINGS))


async def changed(tx: Transaction) -> None:
    """Let every node look again at what was said of accounts, and of secrets."""
    await tx.run(CHANGED)


async def disable(tx: Transaction, account: str) -> None:
    """Refuse the account's tokens and logins."""
    await tx.run(DISABLE, {"account": account, "now": tx.now})
    await tx.run(CHANGED)


async def enable(tx: Transaction, account: str) -> None:
    """Admit the account again."""
    await tx.run(ENABLE, {"account": account})
    await tx.run(CHANGED)


async def revoke(tx: Transaction, account: str, pairings: Sequence[str] | None = None) -> int:
    """Refuse the tokens issued so far, of the account or of some pairings; the time (ms) that divides them.

    Pairings that were answered just now give out no more tokens.
    """
    values = {"account": account, "now": tx.now, "pairings": None if pairings is None else list(pairings)}
    await tx.run(FORGET_TERMINALS, values)
    if pairings is None:
        await tx.run(FORGET_DEVICES, values)
        await tx.run(REVOKE, values)
    else:
        await tx.run(REVOKE_PAIRINGS, values)
    await tx.run(CHANGED)
    return int(tx.now)


async def paired(tx: Transaction, public_key: str, account: str) -> None:
    """Note that a terminal (its key in upper-case hex) was let into the account."""
    await tx.run(PAIRED, {"key": public_key, "account": account, "now": tx.now})


async def note_seen(tx: Transaction, sightings: Iterable[Sighting]) -> None:
    """Store when pairings were seen, also of those that are not known yet."""
    columns: Mapping[str, list[object]] = {
        "ids": [],
        "accounts": [],
        "issued": [],
        "seen": [],
        "machines": [],
    }
    for id, account, issued_at, seen_at, machine in sightings:
        for name, value in zip(
            columns, (id, account, Millis(issued_at), Millis(seen_at), machine), strict=True
        ):
            columns[name].append(value)
    await tx.run(SEEN, columns)


async def pairings(tx: Transaction, account: str) -> list[Pairing]:
    """The terminals that were let into the account, the latest first."""
    return [Pairing._make(row) for row in await tx.rows(PAIRINGS, {"account": account})]
