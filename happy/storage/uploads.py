"""Records of stored images, and which attachment folders still belong to a session.

Message attachments have no rows: their place in the object store names the session that owns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.base.ids import cuid

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class StoredImage(NamedTuple):
    """An image in the object store: its original size in pixels and its thumbhash in base64."""

    path: str
    width: int
    height: int
    thumbhash: str


REUSABLE = """
SELECT "path", "width", "height", "thumbhash" FROM "UploadedFile"
WHERE "reuseKey" = %(key)s AND "width" IS NOT NULL AND "height" IS NOT NULL AND "thumbhash" IS NOT NULL
ORDER BY "createdAt" DESC, "id" DESC LIMIT 1
"""

RECORD = """
INSERT INTO "UploadedFile"
    ("id", "accountId", "path", "reuseKey", "width", "height", "thumbhash", "createdAt", "updatedAt")
VALUES (
    %(id)s, %(account)s, %(path)s, %(key)s, %(width)s, %(height)s, %(thumbhash)s, %(now)s, %(now)s
)
"""

SESSIONS_THAT_EXIST = """
SELECT "id" FROM "Session" WHERE "id" = ANY (%(ids)s::text[])
"""


async def reusable_image(tx: Transaction, reuse_key: str) -> StoredImage | None:
    """An image stored under the reuse key by any account, if its measures are known."""
    row = await tx.row(REUSABLE, {"key": reuse_key})
    return None if row is None else StoredImage._make(row)


async def record_image(tx: Transaction, account: str, reuse_key: str, image: StoredImage) -> None:
    """Note an image that was put into the object store."""
    values = {"id": cuid(tx.now), "account": account, "key": reuse_key, "now": tx.now}
    await tx.run(RECORD, values | image._asdict())


async def sessions_that_exist(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """Those of the ids that are sessions, of whatever account."""
    return {row[0] for row in await tx.rows(SESSIONS_THAT_EXIST, {"ids": list(ids)})}
