"""Artifacts: header and body documents with a version each (http.md 6.7).

Over sockets they are in :mod:`happy.capabilities.artifact_events`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from happy.api.declare import MIB, Caller, Capability
from happy.api.pieces import Listing
from happy.api.structs import Base64, Body, Invalid, NonNegative, Reply, Timestamp, Uuid
from happy.base.errors import Refusal
from happy.base.pace import Pace
from happy.capabilities import _artifacts as core
from happy.capabilities._artifacts import Edit, Sealed
from happy.capabilities._base64 import as_text, decoded_in_turns, members_of
from happy.capabilities._replies import Success
from happy.capabilities.server import Server
from happy.storage import artifacts as storage
from happy.storage.artifacts import ArtifactPart, ArtifactRow
from happy.storage.transaction import Transaction

LIST_LENGTH = 200

artifacts = Capability("artifacts")


class ArtifactNotFound(Refusal):
    status = 404
    error = "Artifact not found"


class ForeignArtifact(Refusal):
    status = 409
    error = "Artifact with this ID already exists for another account"


class Create(Sealed):
    id: Uuid


class Change(Body):
    """A part takes part only with both its value and its expected version."""

    header: Base64 | UnsetType = UNSET
    expected_header_version: NonNegative | UnsetType = UNSET
    body: Base64 | UnsetType = UNSET
    expected_body_version: NonNegative | UnsetType = UNSET


class ArtifactSummary(Reply):
    """An artifact without its body."""

    id: str
    header: Base64
    header_version: int
    data_encryption_key: Base64
    seq: int
    created_at: Timestamp
    updated_at: Timestamp


class ArtifactView(Reply):
    """A whole artifact."""

    id: str
    header: Base64
    header_version: int
    body: Base64
    body_version: int
    data_encryption_key: Base64
    seq: int
    created_at: Timestamp
    updated_at: Timestamp


class Changed(Reply):
    """The new versions of the parts that took part."""

    success: Literal[True] = True
    header_version: int | UnsetType = UNSET
    body_version: int | UnsetType = UNSET


class Stale(Reply):
    """What is stored of the parts whose version was another one; nothing was written."""

    success: Literal[False] = False
    error: Literal["version-mismatch"] = "version-mismatch"
    current_header_version: int | UnsetType = UNSET
    current_body_version: int | UnsetType = UNSET
    current_header: Base64 | UnsetType = UNSET
    current_body: Base64 | UnsetType = UNSET


@artifacts.get("/v1/artifacts", failure={"error": "Failed to get artifacts"})
async def list_changed(tx: Transaction, caller: Caller) -> Listing[list[ArtifactSummary]]:
    """The artifacts changed last."""
    return Listing(
        page=await storage.recently_changed(tx, caller.account, LIST_LENGTH),
        view=lambda row: ArtifactSummary(**members_of(row)),
        reply=list,
        again=lambda tx, ids: storage.named(tx, caller.account, ids),
    )


@artifacts.get("/v1/artifacts/:id", refuses=(ArtifactNotFound,), failure={"error": "Failed to get artifact"})
async def read(tx: Transaction, caller: Caller, id: str) -> ArtifactView:
    """One artifact with its body."""
    return ArtifactView(**members_of(await _owned(tx, caller, id)))


@artifacts.post(
    "/v1/artifacts",
    refuses=(ForeignArtifact,),
    failure={"error": "Failed to create artifact"},
    limit=100 * MIB,
)
async def create(tx: Transaction, caller: Caller, body: Create, server: Server) -> ArtifactView:
    """The artifact with the id: a new one, or the stored one as it is."""
    row = await core.create(tx, caller.account, body.id, body, server.pace)
    if row is None:
        raise ForeignArtifact
    return ArtifactView(**members_of(row))


@artifacts.post(
    "/v1/artifacts/:id",
    refuses=(ArtifactNotFound,),
    failure={"error": "Failed to update artifact"},
    limit=100 * MIB,
)
async def change(tx: Transaction, caller: Caller, id: str, body: Change, server: Server) -> Changed | Stale:
    """Replace one part or both, unless somebody else did since the caller looked."""
    try:
        header = await _edit(server.pace, caller, "header", body.header, body.expected_header_version)
        content = await _edit(server.pace, caller, "body", body.body, body.expected_body_version)
    except Invalid:
        stale = _stale(await _owned(tx, caller, id), body)
        if stale is None:
            raise
        return stale
    if header is None and content is None:
        await _owned(tx, caller, id)
        return Changed()
    if not await core.update(tx, caller.account, id, header, content):
        return _stale(await _owned(tx, caller, id), body) or Stale()
    return Changed(
        header_version=UNSET if header is None else header.version,
        body_version=UNSET if content is None else content.version,
    )


@artifacts.delete(
    "/v1/artifacts/:id", refuses=(ArtifactNotFound,), failure={"error": "Failed to delete artifact"}
)
async def delete(tx: Transaction, caller: Caller, id: str) -> Success:
    """Delete an artifact."""
    if not await core.delete(tx, caller.account, id):
        raise ArtifactNotFound
    return Success()


async def _owned(tx: Transaction, caller: Caller, artifact: str) -> ArtifactRow:
    """The caller's artifact. Raises ArtifactNotFound."""
    row = await storage.find(tx, caller.account, artifact)
    if row is None:
        raise ArtifactNotFound
    return row


async def _edit(
    pace: Pace, caller: Caller, member: str, text: str | UnsetType, expected: int | UnsetType
) -> Edit | None:
    """The edit of a part that has both its value and its version; raises Invalid."""
    if text is UNSET or expected is UNSET:
        return None
    return Edit(text, ArtifactPart(await decoded_in_turns(pace, caller.account, text, member), expected))


def _stale(row: ArtifactRow, change: Change) -> Stale | None:
    """What is stored of those parts that take part, but not with the expected version; None if none."""
    old_header = change.header is not UNSET and change.expected_header_version not in (
        UNSET,
        row.header_version,
    )
    old_body = change.body is not UNSET and change.expected_body_version not in (UNSET, row.body_version)
    if not old_header and not old_body:
        return None
    return Stale(
        current_header_version=row.header_version if old_header else UNSET,
        current_body_version=row.body_version if old_body else UNSET,
        current_header=as_text(row.header) if old_header else UNSET,
        current_body=as_text(row.body) if old_body else UNSET,
    )
