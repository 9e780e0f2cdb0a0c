"""Finding out whether a commit took effect whose connection was lost before the answer.

Each transaction that asks for this writes a mark together with its COMMIT: the connection's name and
the number of the attempt. txid_status would not do: a server that crashed hands out the number of a
transaction that it lost again, and then reports the fate of the other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from happy.base.errors import ConnectionLost
from happy.storage.connection import execute
from happy.storage.pool import Connector
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

MARK_COMMIT = """
INSERT INTO "happy_commits" ("writer", "attempt", "at") VALUES (%s, %s, %s)
    ON CONFLICT ("writer") DO UPDATE SET "attempt" = EXCLUDED."attempt", "at" = EXCLUDED."at"
"""

END_SESSION = """
SELECT pg_terminate_backend("pid", 5000) FROM pg_stat_activity WHERE "application_name" = %s
"""

LAST_COMMIT = """
SELECT "attempt" FROM "happy_commits" WHERE "writer" = %s
"""

FORGET_MARKS = """
DELETE FROM "happy_commits" WHERE "at" < %s
"""

_KEPT = 7 * 86_400_000


def mark(writer: str, attempt: int, now: Millis) -> list[Any]:
    """The parameters of MARK_COMMIT, which belongs right before COMMIT, in the same round trip."""
    return [writer, attempt, now]


async def took_effect(connector: Connector, writer: str, attempt: int) -> bool:
    """Whether the attempt that ``writer``, a connection now lost, marked last was committed.

    Ends the server's side of the lost connection first, so that nothing can be committed after the
    answer. Raises ConnectionLost while there is no answer to be had.
    """
    connection = await connector.open()
    try:
        ended = (await execute(connection, END_SESSION, (writer,))).fetchall()
        if not all(gone for (gone,) in ended):
            raise ConnectionLost(None)
        row = (await execute(connection, LAST_COMMIT, (writer,))).fetchone()
    finally:
        connection.close()
    return row is not None and row[0] == attempt


async def forget_old_marks(tx: Transaction) -> None:
    """Remove what processes left behind that ended long ago."""
    await tx.run(FORGET_MARKS, (Millis(tx.now - _KEPT),))
