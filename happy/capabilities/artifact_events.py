"""Artifacts over sockets (realtime.md B.6); over HTTP they are in :mod:`happy.capabilities.artifacts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from happy.capabilities import _artifacts as core
from happy.capabilities._artifacts import Edit, Sealed
from happy.capabilities._declare import Caller, Capability
from happy.capabilities.artifacts import ForeignArtifact
from happy.codecs import decode_base64, encode_base64
from happy.server import Server
from happy.storage import artifacts as storage
from happy.storage.artifacts import ArtifactRow, Part
from happy.storage.transaction import Transaction
from happy.wire.structs import Base64, Body, NonEmpty, Number, Reply, Timestamp

artifact_events = Capability("artifact_events")


class Create(Sealed):
    id: NonEmpty


class Named(Body):
    artifact_id: NonEmpty


class PartChange(Body):
    data: Base64
    expected_version: Number


class Change(Body):
    """At least one part."""

    artifact_id: NonEmpty
    header: PartChange | None = None
    body: PartChange | None = None

    def __post_init__(self) -> None:
        if self.header is None and self.body is None:
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


class Found(Reply):
    result: Literal["success"] = "success"
    artifact: SharedArtifact


class StoredPart(Reply):
    version: int
    data: Base64


class StalePart(Reply):
    current_version: int
    current_data: Base64


class Changed(Reply):
    """The parts that took part, as they are stored now."""

    result: Literal["success"] = "success"
    header: StoredPart | UnsetType = UNSET
    body: StoredPart | UnsetType = UNSET


class Stale(Reply):
    """What is stored of the parts whose version was another one; nothing was written."""

    result: Literal["version-mismatch"] = "version-mismatch"
    header: StalePart | UnsetType = UNSET
    body: StalePart | UnsetType = UNSET


class Done(Reply):
    result: Literal["success"] = "success"


class Failed(Reply):
    result: Literal["error"] = "error"
    message: str


INVALID = {"result": "error", "message": "Invalid parameters"}
FAILURE = {"result": "error", "message": "Internal error"}
NOT_FOUND = Failed(message="Artifact not found")


def invalid_change(data: Any) -> Mapping[str, str]:
    """What is wrong with the data of ``artifact-update``, in the contract's order."""
    if not isinstance(data, dict) or not isinstance(data.get("artifactId"), str) or not data["artifactId"]:
        return INVALID
    header, body = data.get("header"), data.get("body")
    if header is None and body is None:
        return {"result": "error", "message": "No updates provided"}
    part = "body" if header is None or _fits(header) else "header"
    return {"result": "error", "message": f"Invalid {part} parameters"}


def _fits(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("data"), str):
        return False
    version = part.get("expectedVersion")
    return isinstance(version, int | float) and not isinstance(version, bool)


@artifact_events.event("artifact-read", invalid=INVALID, failure=FAILURE)
async def read(server: Server, caller: Caller, body: Named) -> Found | Failed:
    """One artifact with its body."""
    row = await server.database.read(lambda tx: storage.find(tx, caller.account, body.artifact_id))
    return NOT_FOUND if row is None else Found(artifact=_shared(row))


@artifact_events.event("artifact-create", invalid=INVALID, failure=FAILURE)
async def create(tx: Transaction, caller: Caller, body: Create) -> Found | Failed:
    """The artifact with the id: a new one, or the stored one as it is."""
    try:
        header, content = decode_base64(body.header), decode_base64(body.body)
        key = decode_base64(body.data_encryption_key)
    except ValueError:
        return Failed(message="Internal error")
    row = await core.create(tx, caller.account, body.id, header=header, body=content, data_encryption_key=key)
    return Failed(message=ForeignArtifact.error) if row is None else Found(artifact=_shared(row))


@artifact_events.event("artifact-update", invalid=invalid_change, failure=FAILURE)
async def change(tx: Transaction, caller: Caller, body: Change) -> Changed | Stale | Failed:
    """Replace one part or both, unless somebody else did since the caller looked."""
    try:
        header, content = _edit(body.header), _edit(body.body)
    except ValueError:
        return Failed(message="Internal error")
    if await core.update(tx, caller.account, body.artifact_id, header, content):
        return Changed(header=_stored(header), body=_stored(content))
    row = await storage.find(tx, caller.account, body.artifact_id)
    if row is None:
        return NOT_FOUND
    return Stale(
        header=_stale(header, row.header_version, row.header),
        body=_stale(content, row.body_version, row.body),
    )


@artifact_events.event("artifact-delete", invalid=INVALID, failure=FAILURE)
async def delete(tx: Transaction, caller: Caller, body: Named) -> Done | Failed:
    """Delete an artifact."""
    return Done() if await core.delete(tx, caller.account, body.artifact_id) else NOT_FOUND


def _edit(change: PartChange | None) -> Edit | None:
    """The edit of a part; raises ValueError for undecodable data."""
    if change is None:
        return None
    return Edit(change.data, Part(decode_base64(change.data), change.expected_version))


def _stored(edit: Edit | None) -> StoredPart | UnsetType:
    return UNSET if edit is None else StoredPart(version=edit.version, data=edit.text)


def _stale(edit: Edit | None, version: int, data: bytes) -> StalePart | UnsetType:
    if edit is None or edit.part.expected == version:
        return UNSET
    return StalePart(current_version=version, current_data=encode_base64(data))


def _shared(row: ArtifactRow) -> SharedArtifact:
    members = core.members(row)
    del members["data_encryption_key"]
    return SharedArtifact(**members)
