"""Who knows whom: one directed row for each viewer and each other account.

Writers hold the rows of both accounts (``transact(..., accounts=[a, b])``), so the two directed rows
of a pair change together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

Status = Literal["none", "requested", "pending", "friend", "rejected"]

LONGEST_LIST = 1000
MOST_FOUND = 10
NOTIFY_EVERY_MS = 24 * 60 * 60 * 1000
"""How long an account hears no more of another one after a notification about it."""


class Person(NamedTuple):
    """An account as a viewer may see it; ``avatar`` is JSON text, ``status`` the viewer's row."""

    id: str
    first_name: str | None
    last_name: str | None
    username: str | None
    avatar: str | None
    github_login: str | None
    github_bio: str | None
    status: Status


class Pair(NamedTuple):
    """How two accounts stand to each other; None where there is no row."""

    mine: Status | None
    theirs: Status | None


_PERSON = """
SELECT a."id", a."firstName", a."lastName", a."username", a."avatar",
       g."profile" ->> 'login', g."profile" ->> 'bio', COALESCE(r."status"::text, 'none')
"""

PERSON = (
    _PERSON
    + """
FROM "Account" AS a
LEFT JOIN "GithubUser" AS g ON g."id" = a."githubUserId"
LEFT JOIN "UserRelationship" AS r ON r."fromUserId" = %(viewer)s AND r."toUserId" = a."id"
WHERE a."id" = %(account)s
"""
)

FIND = (
    _PERSON
    + """
FROM (
    SELECT "id", "firstName", "lastName", "username", "avatar", "githubUserId" FROM "Account"
    WHERE lower("username") LIKE lower(%(pattern)s) ORDER BY "username" LIMIT %(most)s
) AS a
LEFT JOIN "GithubUser" AS g ON g."id" = a."githubUserId"
LEFT JOIN "UserRelationship" AS r ON r."fromUserId" = %(viewer)s AND r."toUserId" = a."id"
ORDER BY a."username"
"""
)

FRIENDS = (
    _PERSON
    + """
FROM "UserRelationship" AS r
JOIN "Account" AS a ON a."id" = r."toUserId"
LEFT JOIN "GithubUser" AS g ON g."id" = a."githubUserId"
WHERE r."fromUserId" = %(viewer)s AND r."status" IN ('friend', 'pending', 'requested')
ORDER BY r."createdAt", r."toUserId" LIMIT %(most)s
"""
)

EXISTS = """
SELECT 1 FROM "Account" WHERE "id" = %(account)s
"""

PAIR = """
SELECT
    (SELECT "status"::text FROM "UserRelationship" WHERE "fromUserId" = %(me)s AND "toUserId" = %(other)s),
    (SELECT "status"::text FROM "UserRelationship" WHERE "fromUserId" = %(other)s AND "toUserId" = %(me)s)
"""

SET_STATUS = """
INSERT INTO "UserRelationship" ("fromUserId", "toUserId", "status", "createdAt", "updatedAt", "acceptedAt")
VALUES (%(owner)s, %(other)s, %(status)s, %(now)s, %(now)s, %(accepted)s)
ON CONFLICT ("fromUserId", "toUserId") DO UPDATE
SET "status" = EXCLUDED."status", "updatedAt" = EXCLUDED."updatedAt", "acceptedAt" = EXCLUDED."acceptedAt"
"""

CLAIM_NOTIFICATION = """
UPDATE "UserRelationship" SET "lastNotifiedAt" = %(now)s, "updatedAt" = %(now)s
WHERE "fromUserId" = %(receiver)s AND "toUserId" = %(about)s AND "status" <> 'rejected'
  AND ("lastNotifiedAt" IS NULL OR "lastNotifiedAt" < %(before)s)
"""


async def person(tx: Transaction, viewer: str, account: str) -> Person | None:
    """The account as ``viewer`` sees it; None if there is none."""
    row = await tx.row(PERSON, {"viewer": viewer, "account": account})
    return None if row is None else Person(*row)


async def find(tx: Transaction, viewer: str, prefix: str) -> list[Person]:
    """The first ten accounts whose username begins with ``prefix``, whatever the case, by username."""
    values = {"viewer": viewer, "pattern": literally(prefix) + "%", "most": MOST_FOUND}
    return [Person(*row) for row in await tx.rows(FIND, values)]


def literally(text: str) -> str:
    """``text`` as a LIKE pattern that matches nothing but itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def friends(tx: Transaction, viewer: str) -> list[Person]:
    """Friends and open requests of both directions, oldest acquaintance first."""
    return [Person(*row) for row in await tx.rows(FRIENDS, {"viewer": viewer, "most": LONGEST_LIST})]


async def exists(tx: Transaction, account: str) -> bool:
    """Whether there is such an account."""
    return await tx.row(EXISTS, {"account": account}) is not None


async def pair(tx: Transaction, me: str, other: str) -> Pair:
    """The two directed rows."""
    row = await tx.row(PAIR, {"me": me, "other": other})
    assert row is not None
    return Pair(*row)


async def set_status(tx: Transaction, owner: str, other: str, status: Status) -> None:
    """Write ``owner``'s row about ``other``; when they were last notified is kept."""
    accepted = tx.now if status == "friend" else None
    values = {"owner": owner, "other": other, "status": status, "now": tx.now, "accepted": accepted}
    await tx.run(SET_STATUS, values)


async def claim_notification(tx: Transaction, receiver: str, about: str) -> bool:
    """Whether ``receiver`` may be notified about an account now; if so, it counts as done.

    There must be a row, not rejected, whose last notification is more than 24 hours old.
    """
    before = Millis(tx.now - NOTIFY_EVERY_MS)
    values = {"receiver": receiver, "about": about, "now": tx.now, "before": before}
    return await tx.run(CLAIM_NOTIFICATION, values) == 1
