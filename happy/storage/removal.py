"""Removal of sessions and of accounts, in slices that each are a short transaction.

A session may have a million messages, and an account as many rows of other kinds. Each slice can be the last
one for now: what is left is removed by whoever does it again, also by several at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from happy.storage import access

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

AT_ONCE: Final = 500
"""Messages that a slice removes at most: it takes some milliseconds, and holds their locks as long."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""What the messages of a slice have together at most, unless a single one has more: PostgreSQL keeps what is
large in rows of their own, 2 kB each, which go as well."""

OTHERS_AT_ONCE: Final = 100
"""Rows of other tables that a slice removes: some of them may have a megabyte each."""

# With its lock, slices of several who remove the same session come one after another, and nothing is added.
LOCK = """
SELECT 1 FROM "Session" WHERE "id" = %(session)s FOR UPDATE
"""

# From a number on, so that no slice passes over what the slices before have left for VACUUM.
SOME_MESSAGES = """
WITH "gone" AS (
    DELETE FROM "SessionMessage" WHERE ctid = ANY (ARRAY(
        SELECT "place" FROM (
            SELECT "place", sum("size") OVER (ORDER BY "seq", "place") - "size" AS "before" FROM (
                SELECT ctid AS "place", "seq", pg_column_size("content") AS "size" FROM "SessionMessage"
                WHERE "sessionId" = %(session)s AND "seq" >= %(first)s ORDER BY "seq" LIMIT %(most)s
            ) AS "next"
        ) AS "measured" WHERE "before" < %(bytes)s
    )) RETURNING "seq"
)
SELECT count(*), max("seq") FROM "gone"
"""


def _some(table: str, column: str) -> str:
    return f"""
DELETE FROM "{table}" WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "{table}" WHERE "{column}" = %(owner)s LIMIT %(most)s
))
"""


OF_SESSION = (_some("UsageReport", "sessionId"), _some("AccessKey", "sessionId"))

SESSION = """
DELETE FROM "Session" WHERE "id" = %(session)s
"""

VOICE = _some("VoiceConversation", "accountId")

VOICE_IS_THERE = """
SELECT to_regclass('"VoiceConversation"') IS NOT NULL
"""

OF_ACCOUNT = (
    *(
        _some(table, "accountId")
        for table in (
            *("UsageReport", "AccessKey", "Machine", "Artifact", "UploadedFile", "ServiceAccountToken"),
            *("UserKVStore", "AccountPushToken"),
        )
    ),
    VOICE,
    _some("UserFeedItem", "userId"),
    *(_some(table, "responseAccountId") for table in ("TerminalAuthRequest", "AccountAuthRequest")),
)
"""What refers to an account and does not go with it by itself, or may be much."""

GITHUB_USER = """
SELECT "githubUserId" FROM "Account" WHERE "id" = %(account)s
"""

ACCOUNT = """
DELETE FROM "Account" WHERE "id" = %(account)s
"""

FORGET_GITHUB_USER = """
DELETE FROM "GithubUser" WHERE "id" = %(github)s
"""


class Slice(NamedTuple):
    """How many messages were removed, and the number from which the next ones are looked for."""

    messages: int
    following: int


async def remove_messages(tx: Transaction, session: str, first: int) -> Slice:
    """Remove some messages of a session, from the number ``first`` on; none is left there when none was."""
    await tx.row(LOCK, {"session": session})
    values = {"session": session, "first": first, "most": AT_ONCE, "bytes": MOST_BYTES}
    ((count, last),) = await tx.rows(SOME_MESSAGES, values)
    return Slice(int(count), first if last is None else int(last))


async def remove_of_session(tx: Transaction, session: str, kind: int) -> int:
    """Remove some rows of a session that are no messages; ``kind`` counts :data:`OF_SESSION`."""
    return await tx.run(OF_SESSION[kind], {"owner": session, "most": OTHERS_AT_ONCE})


async def remove_session(tx: Transaction, session: str) -> bool:
    """Remove a session that has nothing any more; False if it is gone. Raises QueryFailed if it has."""
    return await tx.run(SESSION, {"session": session}) > 0


async def remove_of_account(tx: Transaction, account: str, kind: int) -> int:
    """Remove some rows of an account; ``kind`` counts :data:`OF_ACCOUNT`."""
    if OF_ACCOUNT[kind] is VOICE:  # which the original is going to drop (schema.md 4.21)
        ((there,),) = await tx.rows(VOICE_IS_THERE)
        if not there:
            return 0
    return await tx.run(OF_ACCOUNT[kind], {"owner": account, "most": OTHERS_AT_ONCE})


async def remove_account(tx: Transaction, account: str) -> bool:
    """Remove an account that has nothing any more; True, also if it is gone. Raises QueryFailed if it has.

    What keeps it out meanwhile is lifted: its tokens are those of nobody from then on.
    """
    row = await tx.row(GITHUB_USER, {"account": account})
    await tx.run(ACCOUNT, {"account": account})
    if row is not None and row[0] is not None:
        await tx.run(FORGET_GITHUB_USER, {"github": row[0]})
    await access.enable(tx, account)
    return True
