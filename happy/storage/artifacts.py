"""Artifacts: a header and a body with a version each, changed together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from happy.storage.large import Column, Kind, Page, Table

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction


class ArtifactRow(NamedTuple):
    """An artifact; times are epoch milliseconds."""

    id: str
    header: bytes
    header_version: int
    body: bytes
    body_version: int
    data_encryption_key: bytes
    seq: int
    created_at: int
    updated_at: int


class ArtifactHeaderRow(NamedTuple):
    """An artifact without its body."""

    id: str
    header: bytes
    header_version: int
    data_encryption_key: bytes
    seq: int
    created_at: int
    updated_at: int


class ArtifactPart(NamedTuple):
    """A new header or body, and the version it replaces (any number; one that is none never matches)."""

    data: bytes
    expected: float


_COLUMNS = """
    "id", "header", "headerVersion", "body", "bodyVersion", "dataEncryptionKey", "seq",
    "createdAt", "updatedAt"
"""

_HEADER_COLUMNS = """
    "id", "header", "headerVersion", "dataEncryptionKey", "seq", "createdAt", "updatedAt"
"""

_MINE = '"accountId" = %(account)s'
_HEADER = Column('"header"', Kind.BYTES, '"headerVersion"')
_BODY = Column('"body"', Kind.BYTES, '"bodyVersion"')
_KEY = Column('"dataEncryptionKey"', Kind.BYTES)

_TABLE = Table('"Artifact"', ArtifactRow, _COLUMNS, [_HEADER, _BODY, _KEY], _MINE)
_HEADERS = Table('"Artifact"', ArtifactHeaderRow, _HEADER_COLUMNS, [_HEADER, _KEY], _MINE)

CREATE = f"""
INSERT INTO "Artifact" (
    "id", "accountId", "header", "headerVersion", "body", "bodyVersion", "dataEncryptionKey",
    "createdAt", "updatedAt"
)
VALUES (%(id)s, %(account)s, %(header)s, 1, %(body)s, 1, %(key)s, %(now)s, %(now)s)
ON CONFLICT ("id") DO NOTHING
RETURNING {_TABLE.small}
"""

BY_ID = _TABLE.measured('FROM "Artifact" WHERE "id" = %(id)s AND "accountId" = %(account)s')

EXISTS = """
SELECT 1 FROM "Artifact" WHERE "id" = %(id)s
"""

_LATEST = 'ORDER BY "updatedAt" DESC, "id"'

RECENTLY_CHANGED = _HEADERS.measured(
    f'FROM "Artifact" WHERE "accountId" = %(account)s {_LATEST} LIMIT %(limit)s', _LATEST
)

NAMED = _HEADERS.again

UPDATE = """
UPDATE "Artifact"
SET "header" = coalesce(%(header)s::bytea, "header"),
    "headerVersion" = "headerVersion" + (%(header)s::bytea IS NOT NULL)::integer,
    "body" = coalesce(%(body)s::bytea, "body"),
    "bodyVersion" = "bodyVersion" + (%(body)s::bytea IS NOT NULL)::integer,
    "seq" = "seq" + 1,
    "updatedAt" = %(now)s
WHERE "id" = %(id)s AND "accountId" = %(account)s
    AND "headerVersion" = coalesce(%(header_expected)s::numeric, "headerVersion")
    AND "bodyVersion" = coalesce(%(body_expected)s::numeric, "bodyVersion")
"""

DELETE = """
DELETE FROM "Artifact" WHERE "id" = %(id)s AND "accountId" = %(account)s
"""


async def get_or_create(
    tx: Transaction, account: str, artifact: str, *, header: bytes, body: bytes, data_encryption_key: bytes
) -> tuple[ArtifactRow, bool] | None:
    """The account's artifact with the id, and whether it is new; an existing one stays as it is.

    None when the id is another account's. A stored one that is very large has its parts as
    :class:`~happy.storage.large.Large`.
    """
    parameters = {
        "id": artifact,
        "account": account,
        "header": header,
        "body": body,
        "key": data_encryption_key,
        "now": tx.now,
    }
    if (created := await tx.row(CREATE, parameters)) is not None:
        return _TABLE.row(created, header, body, data_encryption_key), True
    found = await find(tx, account, artifact)
    return None if found is None else (found, False)


async def find(tx: Transaction, account: str, artifact: str) -> ArtifactRow | None:
    """The account's artifact with the id; a very large one has its parts as :class:`Large`."""
    return (await _TABLE.page(tx, BY_ID, {"id": artifact, "account": account})).only


async def exists(tx: Transaction, artifact: str) -> bool:
    """Whether any account has an artifact with the id."""
    return await tx.row(EXISTS, {"id": artifact}) is not None


async def named(tx: Transaction, account: str, ids: Sequence[str]) -> Page[ArtifactHeaderRow]:
    """Those of the artifacts that are there and the account's, in the order of ``ids``."""
    return await _HEADERS.named(tx, ids, {"account": account})


async def recently_changed(tx: Transaction, account: str, limit: int) -> Page[ArtifactHeaderRow]:
    """At most ``limit`` artifacts, the one changed last first."""
    return await _HEADERS.page(tx, RECENTLY_CHANGED, {"account": account, "limit": limit})


async def update(
    tx: Transaction, account: str, artifact: str, header: ArtifactPart | None, body: ArtifactPart | None
) -> bool:
    """Replace the parts that are given, if the stored versions of all of them are the expected ones.

    False when nothing was written: the artifact is not owned, or a version differs.
    """
    parameters = {
        "id": artifact,
        "account": account,
        "header": header and header.data,
        "header_expected": header and header.expected,
        "body": body and body.data,
        "body_expected": body and body.expected,
        "now": tx.now,
    }
    return await tx.run(UPDATE, parameters) > 0


async def delete(tx: Transaction, account: str, artifact: str) -> bool:
    """Delete the artifact; False for one not owned."""
    return await tx.run(DELETE, {"id": artifact, "account": account}) > 0
