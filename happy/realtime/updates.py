"""Every body the server sends of its own accord, who hears it, and its encoding.

Sources: realtime.md B.3 (recipients), B.4 (bodies), http.md 4. Member order is the contract's; an
optional member that is not set is absent. Times are epoch milliseconds, byte values standard base64.
"""

from __future__ import annotations

import secrets
import string
from typing import Any, Literal, dataclass_transform

import msgspec
from msgspec import UNSET, Struct, UnsetType

_ALPHABET = string.ascii_letters + string.digits


def _plain(value: Any) -> int:
    """A time as storage types it (``Millis``), which msgspec does not take for a number by itself."""
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


class Audience(Struct, frozen=True):
    """Connections of one account: all user-scoped ones, and those of a session or of a machine."""

    account: str
    session: str | None = None
    machine: str | None = None


def devices_of(account: str) -> Audience:
    """The account's user-scoped connections (filter U)."""
    return Audience(account)


def watchers_of_session(account: str, session: str) -> Audience:
    """User-scoped connections and those scoped to the session (filter S)."""
    return Audience(account, session=session)


def watchers_of_machine(account: str, machine: str) -> Audience:
    """User-scoped connections and those scoped to the machine (filter M)."""
    return Audience(account, machine=machine)


@dataclass_transform(frozen_default=True, kw_only_default=True)
class UpdateBody(Struct, frozen=True, kw_only=True, rename="camel", tag_field="t", omit_defaults=False):
    """A durable change: one account sequence number each."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class EphemeralBody(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    """A passing signal: neither numbered nor stored."""


class TextVersion(Struct, frozen=True):
    """A versioned opaque text as updates carry it."""

    value: str
    version: int


class NullableVersion(Struct, frozen=True):
    """A versioned opaque text that may be null."""

    value: str | None
    version: int


class NewSession(UpdateBody, tag="new-session"):
    id: str
    seq: int
    metadata: str
    metadata_version: int
    agent_state: str | None
    agent_state_version: int
    data_encryption_key: str | None
    active: bool
    active_at: int
    created_at: int
    updated_at: int


class UpdateSession(UpdateBody, tag="update-session"):
    id: str
    metadata: TextVersion | UnsetType = UNSET
    agent_state: NullableVersion | UnsetType = UNSET


class DeleteSession(UpdateBody, tag="delete-session"):
    sid: str


class Encrypted(Struct, frozen=True, tag_field="t", tag="encrypted"):
    """Message content: the text a client sealed."""

    c: str


class Message(Struct, frozen=True, kw_only=True, rename="camel"):
    """A stored message; ``seq`` counts within its session."""

    id: str
    seq: int
    content: Encrypted
    local_id: str | None
    created_at: int
    updated_at: int


class NewMessage(UpdateBody, tag="new-message"):
    sid: str
    message: Message


class Avatar(Struct, frozen=True, kw_only=True):
    width: int
    height: int
    thumbhash: str
    path: str
    url: str


class UpdateAccount(UpdateBody, tag="update-account"):
    id: str
    settings: NullableVersion | UnsetType = UNSET
    github: dict[str, Any] | None | UnsetType = UNSET
    username: str | None | UnsetType = UNSET
    first_name: str | None | UnsetType = UNSET
    last_name: str | None | UnsetType = UNSET
    avatar: Avatar | UnsetType = UNSET


class NewMachine(UpdateBody, tag="new-machine"):
    machine_id: str
    seq: int
    metadata: str
    metadata_version: int
    daemon_state: str | None
    daemon_state_version: int
    data_encryption_key: str | None
    active: bool
    active_at: int
    created_at: int
    updated_at: int


class UpdateMachine(UpdateBody, tag="update-machine"):
    machine_id: str
    metadata: TextVersion | UnsetType = UNSET
    daemon_state: TextVersion | UnsetType = UNSET


class DeleteMachine(UpdateBody, tag="delete-machine"):
    machine_id: str


class NewArtifact(UpdateBody, tag="new-artifact"):
    artifact_id: str
    seq: int
    header: str
    header_version: int
    body: str
    body_version: int
    data_encryption_key: str
    created_at: int
    updated_at: int


class UpdateArtifact(UpdateBody, tag="update-artifact"):
    artifact_id: str
    header: TextVersion | UnsetType = UNSET
    body: TextVersion | UnsetType = UNSET


class DeleteArtifact(UpdateBody, tag="delete-artifact"):
    artifact_id: str


class NewFeedPost(UpdateBody, tag="new-feed-post"):
    id: str
    body: dict[str, Any]
    cursor: str
    created_at: int
    repeat_key: str | None


class KvChange(Struct, frozen=True):
    key: str
    value: str | None
    version: int


class KvBatchUpdate(UpdateBody, tag="kv-batch-update"):
    changes: list[KvChange]


class RelationshipUpdated(UpdateBody, tag="relationship-updated"):
    uid: str
    from_user_id: str
    to_user_id: str
    status: str
    action: Literal["created", "updated", "deleted"]
    timestamp: int


class Activity(EphemeralBody, tag="activity"):
    """A session's presence."""

    id: str
    active: bool
    active_at: int
    thinking: bool


class MachineActivity(EphemeralBody, tag="machine-activity"):
    id: str
    active: bool
    active_at: int


class Usage(EphemeralBody, tag="usage"):
    id: str
    key: str
    tokens: dict[str, float]
    cost: dict[str, float]
    timestamp: int


class SessionEvent(EphemeralBody, tag="session-event"):
    session_id: str
    kind: Literal["done", "permission", "question"]
    title: str
    body: str
    timestamp: int


class Update(Struct, frozen=True, kw_only=True):
    """A committed change on its way to its audience. ``seq`` counts within the account."""

    audience: Audience
    seq: int
    body: UpdateBody
    created_at: int
    skip: object | None = None
    """The connection that must not hear it, if any."""


class _Envelope(Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    seq: int
    body: UpdateBody
    created_at: int


def update_id() -> str:
    """Twelve random letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def encode_update(update: Update) -> bytes:
    """The JSON object that the event ``update`` carries."""
    return _encoder.encode(
        _Envelope(id=update_id(), seq=update.seq, body=update.body, created_at=update.created_at)
    )


def encode_ephemeral(body: EphemeralBody) -> bytes:
    """The JSON object that the event ``ephemeral`` carries."""
    return _encoder.encode(body)
