"""Artifacts over sockets (realtime.md B.6); over HTTP they are in :mod:`happy.capabilities.artifacts`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from msgspec import UNSET, UnsetType

from happy.api.declare import Caller, Capability
from happy.api.pieces import unchanged, whole
from happy.api.structs import Base64, Body, Invalid, NonEmpty, Number, Reply, Timestamp, stands_for
from happy.capabilities import _artifacts as core
from happy.capabilities._artifacts import Edit, Sealed
from happy.capabilities._base64 import as_text, decoded, members_of
from happy.capabilities._truth import truthy
from happy.capabilities.artifacts import ForeignArtifact
from happy.capabilities.server import Server
from happy.storage import artifacts as storage
from happy.storage.artifacts import ArtifactPart, ArtifactRow
from happy.storage.transaction import Transaction

artifact_events = Capability("artifact_events")


class CreateArtifact(Sealed):
    id: NonEmpty


class Named(Body):
    artifact_id: NonEmpty


class PartChange(Body):
    data: Base64
    expected_version: Number


Absent = Literal["", 0] | bool | None
"""What stands for no part at all; ``true`` fits here and nowhere."""
MaybePart = Annotated[PartChange | Absent, stands_for(PartChange | UnsetType | None)]


class ChangeArtifact(Body):
    """At least one part."""

    artifact_id: NonEmpty
    header: MaybePart = None
    body: MaybePart = None

    def __post_init__(self) -> None:
        parts = [part for part in (self.header, self.body) if truthy(part)]
        if not parts or True in parts:
            raise ValueError("No updates provided")


class SharedArtifact(Reply):
    """An artifact as sockets see it, without its key."""

    id: str
    header: Base64
    header_version: int
    body: Base64
    body_version: int
    seq: int
    created_at: Timestamp
    updated_at: Timestamp


class ArtifactFound(Reply):
    result: Literal["success"] = "success"
    artifact: SharedArtifact


class StoredPart(Reply):
    version: int
    data: Base64


class StalePart(Reply):
    current_version: int
    current_data: Base64


class ArtifactChanged(Reply):
    """The parts that took part, as they are stored now."""

    result: Literal["success"] = "success"
    header: StoredPart | UnsetType = UNSET
    body: StoredPart | UnsetType = UNSET


class ArtifactStale(Reply):
    """What is stored of the parts whose version was another one; nothing was written."""

    result: Literal["version-mismatch"] = "version-mismatch"
    header: StalePart | UnsetType = UNSET
    body: StalePart | UnsetType = UNSET


class ArtifactDone(Reply):
    result: Literal["success"] = "success"


class ArtifactFailed(Reply):
    result: Literal["error"] = "error"
    message: str


INVALID = {"result": "error", "message": "Invalid parameters"}
FAILURE = {"result": "error", "message": "Internal error"}
NOT_FOUND = ArtifactFailed(message="Artifact not found")
UNDECODABLE = ArtifactFailed(message="Internal error")
"""Data that is no base64; what is stored is looked at first."""


def invalid_change(data: Any) -> Mapping[str, str]:
    """What is wrong with the data of ``artifact-update``, in the contract's order."""
    if not isinstance(data, dict) or not isinstance(data.get("artifactId"), str) or not data["artifactId"]:
        return INVALID
    header, body = data.get("header"), data.get("body")
    if not truthy(header) and not truthy(body):
        return {"result": "error", "message": "No updates provided"}
    part = "body" if _fits(header) else "header"
    return {"result": "error", "message": f"Invalid {part} parameters"}


def _fits(part: Any) -> bool:
    if not truthy(part):
        return True
    if not isinstance(part, dict) or not isinstance(part.get("data"), str):
        return False
    version = part.get("expectedVersion")
    return isinstance(version, int | float) and not isinstance(version, bool)


@artifact_events.event("artifact-read", invalid=INVALID, failure=FAILURE)
async def read(server: Server, caller: Caller, body: Named) -> ArtifactFound | ArtifactFailed:
    """One artifact with its body."""

    async def work(tx: Transaction) -> ArtifactFound | ArtifactFailed:
        row = await storage.find(tx, caller.account, body.artifact_id)
        return NOT_FOUND if row is None else await _found(server, caller, tx, row)

    return await unchanged(lambda: server.database.read(work, owner=caller.account))


@artifact_events.event("artifact-create", invalid=INVALID, failure=FAILURE)
async def create(
    tx: Transaction, caller: Caller, body: CreateArtifact, server: Server
) -> ArtifactFound | ArtifactFailed:
    """The artifact with the id: a new one, or the stored one as it is."""
    try:
        row = await core.create(tx, caller.account, body.id, body, server.pace)
    except Invalid:
        return UNDECODABLE
    return (
        ArtifactFailed(message=ForeignArtifact.error)
        if row is None
        else await _found(server, caller, tx, row)
    )


@artifact_events.event("artifact-update", invalid=invalid_change, failure=FAILURE)
async def change(
    tx: Transaction, server: Server, caller: Caller, body: ChangeArtifact
) -> ArtifactChanged | ArtifactStale | ArtifactFailed:
    """Replace one part or both, unless somebody else did since the caller looked."""
    edits = _edits(body)
    if edits is not None and await core.update(tx, caller.account, body.artifact_id, *edits):
        return ArtifactChanged(header=_stored(edits[0]), body=_stored(edits[1]))
    row = await storage.find(tx, caller.account, body.artifact_id)
    if row is None:
        return NOT_FOUND
    read = partial(whole, server, caller.account, tx)
    header = await _stale(body.header, row.header_version, row.header, read)
    content = await _stale(body.body, row.body_version, row.body, read)
    return UNDECODABLE if header is content is UNSET else ArtifactStale(header=header, body=content)


@artifact_events.event("artifact-delete", invalid=INVALID, failure=FAILURE)
async def delete(tx: Transaction, caller: Caller, body: Named) -> ArtifactDone | ArtifactFailed:
    """Delete an artifact."""
    return ArtifactDone() if await core.delete(tx, caller.account, body.artifact_id) else NOT_FOUND


def _edits(change: ChangeArtifact) -> tuple[Edit | None, Edit | None] | None:
    """The edits of header and body; None for data that is no base64."""
    try:
        return _edit(change.header), _edit(change.body)
    except Invalid:
        return None


def _edit(part: PartChange | Absent) -> Edit | None:
    if not isinstance(part, PartChange):
        return None
    return Edit(part.data, ArtifactPart(decoded(part.data), part.expected_version))


def _stored(edit: Edit | None) -> StoredPart | UnsetType:
    return UNSET if edit is None else StoredPart(version=edit.version, data=edit.text)


async def _stale(
    part: PartChange | Absent, version: int, data: bytes, read: Callable[[bytes], Awaitable[bytes]]
) -> StalePart | UnsetType:
    if not isinstance(part, PartChange) or part.expected_version == version:
        return UNSET
    return StalePart(current_version=version, current_data=as_text(await read(data)))


async def _found(server: Server, caller: Caller, tx: Transaction, row: ArtifactRow) -> ArtifactFound:
    read = partial(whole, server, caller.account, tx)
    row = row._replace(header=await read(row.header), body=await read(row.body))
    members = members_of(row)
    del members["data_encryption_key"]
    return ArtifactFound(artifact=SharedArtifact(**members))
