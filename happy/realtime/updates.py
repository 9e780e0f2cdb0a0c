"""Every body the server sends of its own accord, who hears it, and its encoding.

Sources: realtime.md B.3 (recipients), B.4 (bodies), http.md 4. Member order is the contract's; an
optional member that is not set is absent. Times are epoch milliseconds, byte values standard base64.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal, dataclass_transform

import msgspec
from msgspec import UNSET, Struct, UnsetType

from happy.api.portions import Sliced
from happy.api.structs import Base64, Timestamp, stands_for
from happy.base.ids import update_id
from happy.storage.relationships import Status


def _plain(value: Any) -> int | str:
    """What msgspec does not know by itself: a time as storage types it (``Millis``), bytes in slices."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Sliced):
        return value.text()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


class Scope(Enum):
    """What a client watches (realtime.md B.2)."""

    USER = "user-scoped"
    SESSION = "session-scoped"
    MACHINE = "machine-scoped"


class Audience(Struct, frozen=True):
    """Connections of one account: all user-scoped ones, and those of a session or of a machine."""

    account: str
    session: str | None = None
    machine: str | None = None

    def reaches(self, scope: Scope, subject: str) -> bool:
        """Whether connections of the account with this scope are meant; ``subject`` is what they name."""
        if scope is Scope.USER:
            return True
        return subject == (self.session if scope is Scope.SESSION else self.machine)


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
class UpdateBody(Struct, frozen=True, kw_only=True, rename="camel", tag_field="t"):
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


@dataclass_transform(frozen_default=True, kw_only_default=True)
class SessionMembers(Struct, frozen=True, kw_only=True, rename="camel"):
    """A session as it is announced, and as whoever opens it is answered; ``seq`` counts its messages."""

    id: str
    seq: int
    metadata: str
    metadata_version: int
    agent_state: str | None
    agent_state_version: int
    data_encryption_key: Base64 | None
    active: bool
    active_at: Timestamp
    created_at: Timestamp
    updated_at: Timestamp


class NewSession(SessionMembers, UpdateBody, tag="new-session"):
    """A session was made; ``seq`` counts its messages."""


class UpdateSession(UpdateBody, tag="update-session"):
    """A session's metadata or agent state was replaced."""

    id: str
    metadata: TextVersion | UnsetType = UNSET
    agent_state: NullableVersion | UnsetType = UNSET


class DeleteSession(UpdateBody, tag="delete-session"):
    """A session is gone, with everything that belongs to it."""

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
    created_at: Timestamp
    updated_at: Timestamp


class NewMessage(UpdateBody, tag="new-message"):
    """A session has a further message."""

    sid: str
    message: Message


class Avatar(Struct, frozen=True, kw_only=True):
    """A picture; sizes in pixels."""

    width: int
    height: int
    thumbhash: str
    path: str
    url: str


class GitHubProfile(Struct, frozen=True, kw_only=True):
    """What apps read of a GitHub user object, which is passed on as GitHub gave it."""

    id: int
    login: str
    name: str
    avatar_url: str
    bio: str | None
    email: str | UnsetType = UNSET


GitHubUser = Annotated[dict[str, Any], stands_for(GitHubProfile)]


class UpdateAccount(UpdateBody, tag="update-account"):
    """Parts of the account were replaced; what is absent stayed as it was."""

    id: str
    settings: NullableVersion | UnsetType = UNSET
    github: GitHubUser | None | UnsetType = UNSET
    username: str | None | UnsetType = UNSET
    first_name: str | None | UnsetType = UNSET
    last_name: str | None | UnsetType = UNSET
    avatar: Avatar | UnsetType = UNSET


class NewMachine(UpdateBody, tag="new-machine"):
    """A machine was registered; ``seq`` is always 0."""

    machine_id: str
    seq: int
    metadata: str
    metadata_version: int
    daemon_state: str | None
    daemon_state_version: int
    data_encryption_key: Base64 | None
    active: bool
    active_at: Timestamp
    created_at: Timestamp
    updated_at: Timestamp


class UpdateMachine(UpdateBody, tag="update-machine"):
    """A machine's metadata or daemon state was replaced."""

    machine_id: str
    metadata: TextVersion | UnsetType = UNSET
    daemon_state: TextVersion | UnsetType = UNSET


class DeleteMachine(UpdateBody, tag="delete-machine"):
    """A machine is gone."""

    machine_id: str


class NewArtifact(UpdateBody, tag="new-artifact"):
    """An artifact was made."""

    artifact_id: str
    seq: int
    header: Base64
    header_version: int
    body: Base64
    body_version: int
    data_encryption_key: Base64
    created_at: Timestamp
    updated_at: Timestamp


class UpdateArtifact(UpdateBody, tag="update-artifact"):
    """Parts of an artifact were replaced; their texts are as the client sent them."""

    artifact_id: str
    header: TextVersion | UnsetType = UNSET
    body: TextVersion | UnsetType = UNSET


class DeleteArtifact(UpdateBody, tag="delete-artifact"):
    """An artifact is gone."""

    artifact_id: str


class FriendRequest(Struct, frozen=True, tag_field="kind", tag="friend_request"):
    """Somebody (``uid``) asks to be a friend."""

    uid: str


class FriendAccepted(Struct, frozen=True, tag_field="kind", tag="friend_accepted"):
    """Somebody (``uid``) is a friend now."""

    uid: str


class FeedText(Struct, frozen=True, tag_field="kind", tag="text"):
    """Words of the server."""

    text: str


FeedContent = FriendRequest | FriendAccepted | FeedText


class NewFeedPost(UpdateBody, tag="new-feed-post"):
    """The feed has a new item, in the place of a former one with the same ``repeat_key``."""

    id: str
    body: FeedContent
    cursor: str
    created_at: Timestamp
    repeat_key: str | None


class KvChange(Struct, frozen=True):
    """A written entry; a null or empty ``value`` means that it was deleted."""

    key: str
    value: Base64 | None
    version: int


class KvBatchUpdate(UpdateBody, tag="kv-batch-update"):
    """Entries of the key-value store were written, in this order."""

    changes: list[KvChange]


class RelationshipUpdated(UpdateBody, tag="relationship-updated"):
    """How the account (``from_user_id``) relates to another one changed."""

    uid: str
    from_user_id: str
    to_user_id: str
    status: Status
    action: Literal["created", "updated", "deleted"]
    timestamp: Timestamp


class Activity(EphemeralBody, tag="activity"):
    """A session's presence."""

    id: str
    active: bool
    active_at: Timestamp
    thinking: bool


class MachineActivity(EphemeralBody, tag="machine-activity"):
    """A machine's presence."""

    id: str
    active: bool
    active_at: Timestamp


class Usage(EphemeralBody, tag="usage"):
    """A session reported what it used; numbers by name."""

    id: str
    key: str
    tokens: dict[str, float]
    cost: dict[str, float]
    timestamp: Timestamp


class SessionEvent(EphemeralBody, tag="session-event"):
    """Something that a session's owner wants to know."""

    session_id: str
    kind: Literal["done", "permission", "question"]
    title: str
    body: str
    timestamp: Timestamp


class Update(Struct, frozen=True, kw_only=True):
    """A committed change on its way to its audience. ``seq`` counts within the account."""

    audience: Audience
    seq: int
    body: UpdateBody
    created_at: Timestamp
    skip: object | None = None
    """The connection that must not hear it, if any; known by its ``id``, which recovery preserves."""


AnyUpdate = (
    NewSession
    | UpdateSession
    | DeleteSession
    | NewMessage
    | UpdateAccount
    | NewMachine
    | UpdateMachine
    | DeleteMachine
    | NewArtifact
    | UpdateArtifact
    | DeleteArtifact
    | NewFeedPost
    | KvBatchUpdate
    | RelationshipUpdated
)
AnyEphemeral = Activity | MachineActivity | Usage | SessionEvent


class Envelope(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the event ``update`` carries.

    ``seq`` grows from update to update of an account; ``created_at`` is when the update was made.
    """

    id: str
    seq: int
    body: Annotated[UpdateBody, stands_for(AnyUpdate)]
    created_at: Timestamp


def encode_update(update: Update) -> bytes:
    """The JSON object that the event ``update`` carries."""
    return _encoder.encode(envelope(update))


def envelope(update: Update) -> Envelope:
    """What :func:`encode_update` encodes."""
    return Envelope(id=update_id(), seq=update.seq, body=update.body, created_at=update.created_at)


def encode_ephemeral(body: EphemeralBody) -> bytes:
    """The JSON object that the event ``ephemeral`` carries."""
    return _encoder.encode(body)


def state_of(body: EphemeralBody) -> tuple[str, str] | None:
    """What a signal tells the latest of, a kind and an id; None if it tells of something that happened."""
    return (type(body).__name__, body.id) if isinstance(body, Activity | MachineActivity) else None
