"""Account rows: login, profile, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid
from happy.storage.versioned import StoredRow, Versioned, compare_and_set, stored_values

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class ProfileRow(NamedTuple):
    """What an account shows of itself; ``avatar`` and ``github`` are JSON texts, ``vendors`` by age."""

    first_name: str | None
    last_name: str | None
    username: str | None
    avatar: str | None
    github: str | None
    vendors: list[str]


class Login(NamedTuple):
    """The id of an account, and whether it was made just then."""

    account: str
    made: bool


LOG_IN = """
INSERT INTO "Account" ("id", "publicKey", "createdAt", "updatedAt")
VALUES (%(id)s, %(key)s, %(now)s, %(now)s)
ON CONFLICT ("publicKey") DO UPDATE SET "updatedAt" = EXCLUDED."updatedAt"
RETURNING "id"
"""

PROFILE = """
SELECT a."firstName", a."lastName", a."username", a."avatar", g."profile", ARRAY(
    SELECT t."vendor" FROM "ServiceAccountToken" AS t WHERE t."accountId" = a."id"
    ORDER BY t."createdAt", t."id"
)
FROM "Account" AS a LEFT JOIN "GithubUser" AS g ON g."id" = a."githubUserId"
WHERE a."id" = %(account)s
"""

_SETTINGS = stored_values('"Account"', '"id"', '"settings"', '"settingsVersion"', "true")

SET_SETTINGS = """
UPDATE "Account"
SET "settings" = %(value)s, "settingsVersion" = "settingsVersion" + 1, "updatedAt" = %(now)s
WHERE "id" = %(account)s AND "settingsVersion" = %(expected)s
RETURNING "settingsVersion"
"""


async def log_in(tx: Transaction, public_key: str) -> Login:
    """The account with that key (upper-case hex), which is made if there is none."""
    id = cuid(tx.now)
    row = await tx.row(LOG_IN, {"id": id, "key": public_key, "now": tx.now})
    assert row is not None
    return Login(row[0], row[0] == id)


async def profile(tx: Transaction, account: str) -> ProfileRow | None:
    """The account's profile; None if the account is gone."""
    row = await tx.row(PROFILE, {"account": account})
    return None if row is None else ProfileRow._make(row)


async def settings(tx: Transaction, account: str) -> StoredRow | None:
    """The version and the opaque text of the account's settings; None if the account is gone."""
    return (await _SETTINGS.named(tx, [account], {})).only


async def set_settings(
    tx: Transaction, account: str, settings: str | None, expected: int
) -> Versioned | None:
    """Compare-and-set of the settings; None if the account is gone."""
    parameters = {"account": account, "value": settings, "expected": expected, "now": tx.now}
    return await compare_and_set(tx, SET_SETTINGS, _SETTINGS, account, parameters)
