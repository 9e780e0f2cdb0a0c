"""GitHub users, and which account each is linked to. The user's token is stored sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from happy.storage.types import Jsonb

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

OWNER = """
SELECT "id" FROM "Account" WHERE "githubUserId" = %(user)s
"""

HOLDERS = """
SELECT "id" FROM "Account" WHERE "githubUserId" = %(user)s
UNION
SELECT "id" FROM "Account" WHERE "username" = %(username)s
"""

LINKED = """
SELECT "githubUserId" FROM "Account" WHERE "id" = %(account)s
"""

STORE_USER = """
INSERT INTO "GithubUser" ("id", "profile", "token", "createdAt", "updatedAt")
VALUES (%(user)s, %(profile)s, %(sealed)s, %(now)s, %(now)s)
ON CONFLICT ("id") DO UPDATE
SET "profile" = EXCLUDED."profile", "token" = EXCLUDED."token", "updatedAt" = EXCLUDED."updatedAt"
"""

FORGET_USER = """
DELETE FROM "GithubUser" WHERE "id" = %(user)s
"""

UNLINK = """
UPDATE "Account" SET "githubUserId" = NULL, "username" = NULL, "updatedAt" = %(now)s
WHERE "id" = %(account)s
"""

TAKE_USERNAME = """
UPDATE "Account" SET "username" = NULL, "updatedAt" = %(now)s
WHERE "username" = %(username)s AND "id" <> %(account)s
RETURNING "id"
"""

LINK = """
UPDATE "Account"
SET "githubUserId" = %(user)s, "username" = %(username)s, "firstName" = %(first)s, "lastName" = %(last)s,
    "avatar" = COALESCE(%(avatar)s, "avatar"), "updatedAt" = %(now)s
WHERE "id" = %(account)s
"""


async def owner(tx: Transaction, user: str) -> str | None:
    """The account that a GitHub user is linked to."""
    row = await tx.row(OWNER, {"user": user})
    return None if row is None else row[0]


async def holders(tx: Transaction, user: str, username: str) -> list[str]:
    """The accounts that have a GitHub user or a username."""
    return [row[0] for row in await tx.rows(HOLDERS, {"user": user, "username": username})]


async def linked_user(tx: Transaction, account: str) -> str | None:
    """The GitHub user that an account is linked to; None also for an account that is gone."""
    row = await tx.row(LINKED, {"account": account})
    return None if row is None else row[0]


async def store_user(tx: Transaction, user: str, profile: Mapping[str, Any], sealed: bytes) -> None:
    """Keep what GitHub tells about a user, and the user's token, in the place of what was known.

    From then on nobody else links that user until the transaction ends.
    """
    await tx.run(STORE_USER, {"user": user, "profile": Jsonb(profile), "sealed": sealed, "now": tx.now})


async def forget_user(tx: Transaction, user: str) -> None:
    """Remove a GitHub user that no account is linked to."""
    await tx.run(FORGET_USER, {"user": user})


async def unlink(tx: Transaction, account: str) -> None:
    """Take link and username from an account; names and picture stay."""
    await tx.run(UNLINK, {"account": account, "now": tx.now})


async def take_username(tx: Transaction, account: str, username: str) -> list[str]:
    """Make a username free for ``account``; answers who had it."""
    values = {"account": account, "username": username, "now": tx.now}
    return [row[0] for row in await tx.rows(TAKE_USERNAME, values)]


async def link(
    tx: Transaction,
    account: str,
    user: str,
    *,
    username: str,
    first_name: str | None,
    last_name: str | None,
    avatar: Mapping[str, Any] | None,
) -> bool:
    """Link an account to a stored GitHub user; a picture that is None stays as it was.

    False if there is no such account.
    """
    values = {
        "account": account,
        "user": user,
        "username": username,
        "first": first_name,
        "last": last_name,
        "avatar": None if avatar is None else Jsonb(avatar),
        "now": tx.now,
    }
    return await tx.run(LINK, values) == 1
