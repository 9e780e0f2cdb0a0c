"""Artifacts: header and body documents with a version each, over HTTP and sockets (http.md 6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from msgspec import UNSET, UnsetType

from happy.capabilities._base64 import decoded
from happy.capabilities._declare import MIB, Caller, Capability
from happy.codecs import decode_base64, encode_base64
from happy.errors import Refusal
from happy.realtime.updates import DeleteArtifact, NewArtifact, TextVersion, UpdateArtifact, devices_of
from happy.server import Server
from happy.storage import artifacts as storage
from happy.storage.artifacts import ArtifactRow, Part
from happy.storage.transaction import Transaction
from happy.wire.structs import Body, NonEmpty, NonNegative, Number, Reply, Uuid

LIST_LENGTH = 200

artifacts = Capability("artifacts")


class ArtifactNotFound(Refusal):
    status = 404
    error = "Artifact not found"


class ForeignArtifact(Refusal):
    status = 409
    error = "Artifact with this ID already exists for another account"


class Sealed(Body):
    """Header, body and key are base64 (STRICT)."""

    header: str
    body: str
    data_encryption_key: str


class Create(Sealed):
    id: Uuid


class CreateOverSocket(Sealed):
    id: NonEmpty


class Change(Body):
    """A part takes part only with both its value (base64, STRICT) and its expected version."""

    header: str | UnsetType = UNSET
    expected_header_version: NonNegative | UnsetType = UNSET
    body: str | UnsetType = UNSET
    expected_body_version: NonNegative | UnsetType = UNSET


class ArtifactSummary(Reply):
    """An artifact without its body; bytes are base64, times are ms."""

    id: str
    header: str
    header_version: int
    data_encryption_key: str
    seq: int
    created_at: int
    updated_at: int


class ArtifactView(ArtifactSummary):
    body: str
    body_version: int


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
    current_header: str | UnsetType = UNSET
    current_body: str | UnsetType = UNSET


class Done(Reply):
    success: Literal[True] = True


class Named(Body):
    artifact_id: NonEmpty


class PartChange(Body):
    """``data`` is base64 (STRICT)."""

    data: str
    expected_version: Number


class ChangeOverSocket(Body):
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
    header: str
    header_version: int
    body: str
    body_version: int
    seq: int
    created_at: int
    updated_at: int


class FoundOverSocket(Reply):
    result: Literal["success"] = "success"
    artifact: SharedArtifact


class StoredPart(Reply):
    version: int
    data: str


class StalePart(Reply):
    current_version: int
    current_data: str


class ChangedOverSocket(Reply):
    """The parts that took part, as they are stored now."""

    result: Literal["success"] = "success"
    header: StoredPart | UnsetType = UNSET
    body: StoredPart | UnsetType = UNSET


class StaleOverSocket(Reply):
    """What is stored of the parts whose version was another one; nothing was written."""

    result: Literal["version-mismatch"] = "version-mismatch"
    header: StalePart | UnsetType = UNSET
    body: StalePart | UnsetType = UNSET


class DoneOverSocket(Reply):
    result: Literal["success"] = "success"


class Failed(Reply):
    result: Literal["error"] = "error"
    message: str


INVALID = {"result": "error", "message": "Invalid parameters"}
FAILURE = {"result": "error", "message": "Internal error"}
NOT_FOUND = Failed(message="Artifact not found")


class Edit(NamedTuple):
    """A part to be stored, and its text as the client sent it."""

    text: str
    part: Part

    @property
    def version(self) -> int:
        """The version after the edit."""
        return int(self.part.expected) + 1


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


@artifacts.get("/v1/artifacts", failure={"error": "Failed to get artifacts"})
async def list_changed(tx: Transaction, caller: Caller) -> list[ArtifactSummary]:
    """The artifacts changed last."""
    rows = await storage.recently_changed(tx, caller.account, LIST_LENGTH)
    return [ArtifactSummary(**_members(row)) for row in rows]


@artifacts.get("/v1/artifacts/:id", refuses=(ArtifactNotFound,), failure={"error": "Failed to get artifact"})
async def read(tx: Transaction, caller: Caller, id: str) -> ArtifactView:
    """One artifact with its body."""
    row = await storage.find(tx, caller.account, id)
    if row is None:
        raise ArtifactNotFound
    return ArtifactView(**_members(row))


@artifacts.post(
    "/v1/artifacts",
    refuses=(ForeignArtifact,),
    failure={"error": "Failed to create artifact"},
    limit=100 * MIB,
)
async def create(tx: Transaction, caller: Caller, body: Create) -> ArtifactView:
    """The artifact with the id: a new one, or the stored one as it is."""
    row = await _create(
        tx,
        caller.account,
        body.id,
        header=decoded(body.header, "header"),
        body=decoded(body.body, "body"),
        data_encryption_key=decoded(body.data_encryption_key, "dataEncryptionKey"),
    )
    if row is None:
        raise ForeignArtifact
    return ArtifactView(**_members(row))


@artifacts.post(
    "/v1/artifacts/:id",
    refuses=(ArtifactNotFound,),
    failure={"error": "Failed to update artifact"},
    limit=100 * MIB,
)
async def change(tx: Transaction, caller: Caller, id: str, body: Change) -> Changed | Stale:
    """Replace one part or both, unless somebody else did since the caller looked."""
    header = _edit("header", body.header, body.expected_header_version)
    content = _edit("body", body.body, body.expected_body_version)
    nothing = header is None and content is None
    if not nothing and await _update(tx, caller.account, id, header, content):
        return Changed(
            header_version=UNSET if header is None else header.version,
            body_version=UNSET if content is None else content.version,
        )
    row = await storage.find(tx, caller.account, id)
    if row is None:
        raise ArtifactNotFound
    return Changed() if nothing else _stale(row, header, content)


@artifacts.delete(
    "/v1/artifacts/:id", refuses=(ArtifactNotFound,), failure={"error": "Failed to delete artifact"}
)
async def delete(tx: Transaction, caller: Caller, id: str) -> Done:
    """Delete an artifact."""
    if not await _delete(tx, caller.account, id):
        raise ArtifactNotFound
    return Done()


@artifacts.event("artifact-read", invalid=INVALID, failure=FAILURE)
async def read_over_socket(server: Server, caller: Caller, body: Named) -> FoundOverSocket | Failed:
    """One artifact with its body."""
    row = await server.database.read(lambda tx: storage.find(tx, caller.account, body.artifact_id))
    return NOT_FOUND if row is None else FoundOverSocket(artifact=_shared(row))


@artifacts.event("artifact-create", invalid=INVALID, failure=FAILURE)
async def create_over_socket(
    tx: Transaction, caller: Caller, body: CreateOverSocket
) -> FoundOverSocket | Failed:
    """The artifact with the id: a new one, or the stored one as it is."""
    try:
        header, content = decode_base64(body.header), decode_base64(body.body)
        key = decode_base64(body.data_encryption_key)
    except ValueError:
        return Failed(message="Internal error")
    row = await _create(tx, caller.account, body.id, header=header, body=content, data_encryption_key=key)
    return Failed(message=ForeignArtifact.error) if row is None else FoundOverSocket(artifact=_shared(row))


@artifacts.event("artifact-update", invalid=invalid_change, failure=FAILURE)
async def change_over_socket(
    tx: Transaction, caller: Caller, body: ChangeOverSocket
) -> ChangedOverSocket | StaleOverSocket | Failed:
    """Replace one part or both, unless somebody else did since the caller looked."""
    try:
        header, content = _socket_edit(body.header), _socket_edit(body.body)
    except ValueError:
        return Failed(message="Internal error")
    if await _update(tx, caller.account, body.artifact_id, header, content):
        return ChangedOverSocket(header=_stored_part(header), body=_stored_part(content))
    row = await storage.find(tx, caller.account, body.artifact_id)
    if row is None:
        return NOT_FOUND
    return StaleOverSocket(
        header=_stale_part(header, row.header_version, row.header),
        body=_stale_part(content, row.body_version, row.body),
    )


@artifacts.event("artifact-delete", invalid=INVALID, failure=FAILURE)
async def delete_over_socket(tx: Transaction, caller: Caller, body: Named) -> DoneOverSocket | Failed:
    """Delete an artifact."""
    return DoneOverSocket() if await _delete(tx, caller.account, body.artifact_id) else NOT_FOUND


async def _create(
    tx: Transaction, account: str, artifact: str, *, header: bytes, body: bytes, data_encryption_key: bytes
) -> ArtifactRow | None:
    """Get or create, and announce what is new; None for another account's id."""
    found = await storage.get_or_create(
        tx, account, artifact, header=header, body=body, data_encryption_key=data_encryption_key
    )
    if found is None:
        return None
    row, new = found
    if new:
        members = _members(row)
        tx.publish(devices_of(account), NewArtifact(artifact_id=members.pop("id"), **members))
    return row


async def _update(
    tx: Transaction, account: str, artifact: str, header: Edit | None, body: Edit | None
) -> bool:
    """Store and announce the edits if every expected version is the stored one."""
    if not await storage.update(tx, account, artifact, header and header.part, body and body.part):
        return False
    tx.publish(
        devices_of(account),
        UpdateArtifact(
            artifact_id=artifact,
            header=UNSET if header is None else TextVersion(header.text, header.version),
            body=UNSET if body is None else TextVersion(body.text, body.version),
        ),
    )
    return True


async def _delete(tx: Transaction, account: str, artifact: str) -> bool:
    if not await storage.delete(tx, account, artifact):
        return False
    tx.publish(devices_of(account), DeleteArtifact(artifact_id=artifact))
    return True


def _edit(member: str, text: str | UnsetType, expected: int | UnsetType) -> Edit | None:
    """The edit of a part that has both its value and its version; raises Invalid."""
    if text is UNSET or expected is UNSET:
        return None
    return Edit(text, Part(decoded(text, member), expected))


def _socket_edit(change: PartChange | None) -> Edit | None:
    """The edit of a part; raises ValueError for undecodable data."""
    if change is None:
        return None
    return Edit(change.data, Part(decode_base64(change.data), change.expected_version))


def _stale(row: ArtifactRow, header: Edit | None, body: Edit | None) -> Stale:
    """What is stored of those parts whose version is not the expected one."""
    old_header = header is not None and header.part.expected != row.header_version
    old_body = body is not None and body.part.expected != row.body_version
    return Stale(
        current_header_version=row.header_version if old_header else UNSET,
        current_body_version=row.body_version if old_body else UNSET,
        current_header=encode_base64(row.header) if old_header else UNSET,
        current_body=encode_base64(row.body) if old_body else UNSET,
    )


def _stored_part(edit: Edit | None) -> StoredPart | UnsetType:
    return UNSET if edit is None else StoredPart(version=edit.version, data=edit.text)


def _stale_part(edit: Edit | None, version: int, data: bytes) -> StalePart | UnsetType:
    if edit is None or edit.part.expected == version:
        return UNSET
    return StalePart(current_version=version, current_data=encode_base64(data))


def _shared(row: ArtifactRow) -> SharedArtifact:
    members = _members(row)
    del members["data_encryption_key"]
    return SharedArtifact(**members)


def _members(row: NamedTuple) -> dict[str, Any]:
    """An artifact's members as answers and announcements share them: bytes as base64."""
    return {
        name: encode_base64(value) if isinstance(value, bytes) else value
        for name, value in row._asdict().items()
    }
