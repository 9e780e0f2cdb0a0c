"""Removal of an account with everything that it has, in steps that each may be the last one for now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

AT_ONCE: Final = 5_000
"""Messages that one statement removes: it takes some tens of milliseconds, and holds their locks as long."""

SOME_MESSAGES = """
DELETE FROM "SessionMessage" WHERE "id" IN (
    SELECT "id" FROM "SessionMessage" WHERE "sessionId" = %(session)s LIMIT %(most)s
)
"""

SESSION_LEAVINGS = (
    """
DELETE FROM "UsageReport" WHERE "sessionId" = %(session)s
""",
    """
DELETE FROM "AccessKey" WHERE "sessionId" = %(session)s
""",
    """
DELETE FROM "Session" WHERE "id" = %(session)s
""",
)

LEAVINGS = (
    *(
        f"""
DELETE FROM "{table}" WHERE "accountId" = %(account)s
"""
        for table in (
            *("UsageReport", "AccessKey", "Machine", "Artifact", "UploadedFile", "ServiceAccountToken"),
            *("UserKVStore", "VoiceConversation", "AccountPushToken"),
        )
    ),
    *(
        f"""
DELETE FROM "{table}" WHERE "responseAccountId" = %(account)s
"""
        for table in ("TerminalAuthRequest", "AccountAuthRequest")
    ),
)
"""What refers to an account and does not go with it by itself."""

GITHUB_USER = """
SELECT "githubUserId" FROM "Account" WHERE "id" = %(account)s
"""

ACCOUNT = """
DELETE FROM "Account" WHERE "id" = %(account)s
"""

FORGET_GITHUB_USER = """
DELETE FROM "GithubUser" WHERE "id" = %(github)s
"""


async def remove_messages(tx: Transaction, session: str) -> int:
    """Remove some messages of a session; how many there were."""
    return await tx.run(SOME_MESSAGES, {"session": session, "most": AT_ONCE})


async def remove_session(tx: Transaction, session: str) -> None:
    """Remove a session that has no messages."""
    for sql in SESSION_LEAVINGS:
        await tx.run(sql, {"session": session})


async def remove_account(tx: Transaction, account: str) -> None:
    """Remove an account that has no sessions. Raises QueryFailed if it has."""
    row = await tx.row(GITHUB_USER, {"account": account})
    for sql in LEAVINGS:
        await tx.run(sql, {"account": account})
    await tx.run(ACCOUNT, {"account": account})
    if row is not None and row[0] is not None:
        await tx.run(FORGET_GITHUB_USER, {"github": row[0]})
