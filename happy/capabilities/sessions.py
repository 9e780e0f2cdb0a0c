"""Sessions: opening by tag, the three lists, versioned metadata and state, archive, delete (http.md 6.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from msgspec import UNSET, Meta, UnsetType

from happy.api.declare import MIB, Caller, Capability
from happy.api.pieces import Listing, whole
from happy.api.structs import (
    Base64,
    Body,
    Key,
    LenientBase64,
    NonEmpty,
    Number,
    Positive,
    Query,
    Reply,
    Timestamp,
)
from happy.base.errors import Refusal
from happy.capabilities._base64 import data_key, members_of
from happy.capabilities._replies import Success
from happy.capabilities._sessions import SessionNotFound
from happy.capabilities.server import Server
from happy.realtime.updates import (
    Activity,
    DeleteSession,
    NewSession,
    NullableVersion,
    SessionMembers,
    TextVersion,
    UpdateSession,
    devices_of,
    watchers_of_session,
)
from happy.storage import presence as presence_storage
from happy.storage import sessions as storage
from happy.storage.large import Page
from happy.storage.sessions import SessionRow
from happy.storage.transaction import Transaction
from happy.storage.types import Millis

T = TypeVar("T")
V = TypeVar("V")

LIST_LENGTH = 150
RECENT_MS = 15 * 60 * 1000
LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; later moments are clamped to it (D21)."""
CURSOR = "cursor_v1_"

sessions = Capability("sessions")


class TooManySessions(Refusal):
    """The account has as many sessions as the operator lets it have."""

    status = 403
    error = "This account has as many sessions as it may have"


class SessionNotOwned(Refusal):
    status = 404
    error = "Session not found or not owned by user"


class InvalidCursor(Refusal):
    error = "Invalid cursor format"


class OpenSession(Body):
    """``agent_state`` is accepted and ignored."""

    tag: Key
    metadata: str
    agent_state: str | None = None
    data_encryption_key: LenientBase64 | None = None


class SessionView(Reply):
    """A session without its messages."""

    id: str
    seq: int
    created_at: Timestamp
    updated_at: Timestamp
    active: bool
    active_at: Timestamp
    metadata: str
    metadata_version: int
    agent_state: str | None
    agent_state_version: int
    data_encryption_key: Base64 | None


class SessionViewV1(SessionView):
    last_message: None = None


class SessionAsOpened(SessionMembers, Reply):
    """What :class:`SessionViewV1` has, in the order of the update that announces a session."""

    last_message: None = None


class OpenedSession(Reply):
    session: SessionAsOpened


class SessionsV1(Reply):
    sessions: list[SessionViewV1]


class Sessions(Reply):
    sessions: list[SessionView]


class SessionPage(Reply):
    sessions: list[SessionView]
    next_cursor: str | None
    has_next: bool


class SessionPageQuery(Query):
    """``cursor`` is a former page's ``nextCursor``; ``changed_since`` is in ms, exclusive."""

    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    changed_since: Positive | UnsetType = UNSET


class ActiveQuery(Query):
    limit: Annotated[int, Meta(ge=1, le=500)] = 150


class ChangeSessionMetadata(Body):
    sid: NonEmpty
    metadata: str
    expected_version: Number


class ChangeAgentState(Body):
    sid: NonEmpty
    agent_state: str | None
    expected_version: Number


class SessionMetadataOutcome(Reply):
    """The stored version and metadata; those of the caller if ``result`` is success."""

    result: Literal["success", "version-mismatch"]
    version: int
    metadata: str | None


class AgentStateOutcome(Reply):
    """The stored version and agent state; those of the caller if ``result`` is success."""

    result: Literal["success", "version-mismatch"]
    version: int
    agent_state: str | None


class SessionFailed(Reply):
    result: Literal["error"] = "error"


FAILED = {"result": "error"}


@sessions.get("/v1/sessions")
async def list_changed(server: Server, caller: Caller) -> Listing[SessionsV1]:
    """The sessions changed last."""
    page = await server.database.read(
        lambda tx: storage.recently_changed(tx, caller.account, LIST_LENGTH), owner=caller.account
    )
    return _listing(server, caller, page, SessionViewV1, lambda views: SessionsV1(sessions=views))


@sessions.post("/v1/sessions", limit=100 * MIB, refuses=(TooManySessions,))
async def open_session(server: Server, caller: Caller, body: OpenSession) -> OpenedSession:
    """The session with the tag: a new one, or the stored one as it is, which may then come alive again."""
    account = caller.account

    async def work(tx: Transaction) -> tuple[SessionRow, bool]:
        row, new = await storage.get_or_create(
            tx,
            account,
            tag=body.tag,
            metadata=body.metadata,
            data_encryption_key=data_key(body.data_encryption_key),
        )
        if new:
            most = server.config.account_sessions
            if most and await storage.count(tx, account) > most:
                raise TooManySessions
            tx.publish(devices_of(account), NewSession(**members_of(row)))
        return row, new

    row, new = await server.database.transact(work, accounts=[account])
    if not new:
        await server.presence.resume_session(account, row.id)
        await server.committer.settled(account, row.id)
    return OpenedSession(session=SessionAsOpened(**members_of(row)))


@sessions.get("/v2/sessions", refuses=(InvalidCursor,))
async def list_page(server: Server, caller: Caller, query: SessionPageQuery) -> Listing[SessionPage]:
    """Sessions by descending id, page by page."""
    below = _below(query.cursor)
    since = None if query.changed_since is UNSET else Millis(min(query.changed_since, LATEST_MS))
    found = await server.database.read(
        lambda tx: storage.newest(
            tx, caller.account, below=below, changed_since=since, limit=query.limit + 1
        ),
        owner=caller.account,
    )
    page, has_next = found.first(query.limit), len(found.rows) > query.limit
    cursor = CURSOR + page.rows[-1].id if has_next else None

    def reply(views: list[SessionView]) -> SessionPage:
        return SessionPage(sessions=views, next_cursor=cursor, has_next=has_next)

    return _listing(server, caller, page, SessionView, reply)


@sessions.get("/v2/sessions/active")
async def list_active(server: Server, caller: Caller, query: ActiveQuery) -> Listing[Sessions]:
    """Active sessions with a sign of life within the last fifteen minutes."""

    async def work(tx: Transaction) -> Page[SessionRow]:
        return await storage.recently_active(
            tx, caller.account, since=Millis(tx.now - RECENT_MS), limit=query.limit
        )

    page = await server.database.read(work, owner=caller.account)
    return _listing(server, caller, page, SessionView, lambda views: Sessions(sessions=views))


@sessions.post("/v1/sessions/:sessionId/archive", refuses=(SessionNotFound,))
async def archive(server: Server, caller: Caller, session_id: str) -> Success:
    """Show a session as ended, and ignore its late heartbeats."""
    account = caller.account
    if not await _stop(server, account, session_id):
        raise SessionNotFound

    async def work(tx: Transaction) -> None:
        now = int(tx.now)
        if not await presence_storage.end_session(tx, account, session_id, now):
            raise SessionNotFound
        tx.signal(devices_of(account), Activity(id=session_id, active=False, active_at=now, thinking=False))

    await server.database.transact(work, accounts=[account])
    return Success()


@sessions.delete("/v1/sessions/:sessionId", refuses=(SessionNotOwned,))
async def delete(server: Server, caller: Caller, session_id: str) -> Success:
    """Delete a session with everything that belongs to it, its attachments included."""
    account = caller.account
    if not await _stop(server, account, session_id):
        raise SessionNotOwned

    async def work(tx: Transaction) -> None:
        if not await storage.delete(tx, account, session_id):
            raise SessionNotOwned
        tx.publish(devices_of(account), DeleteSession(sid=session_id))

    await server.database.transact(work, accounts=[account], aside=True)
    server.objects.remove_session(session_id, owner=account)
    return Success()


@sessions.event("update-metadata", invalid=FAILED, failure=FAILED)
async def update_metadata(
    tx: Transaction, server: Server, caller: Caller, body: ChangeSessionMetadata
) -> SessionMetadataOutcome | SessionFailed:
    """Replace a session's metadata, unless somebody else did since the caller looked."""
    outcome = await storage.set_metadata(tx, caller.account, body.sid, body.metadata, body.expected_version)
    if outcome is None:
        return SessionFailed()
    if not outcome.changed:
        stored = await whole(server, caller.account, tx, outcome.value)
        return SessionMetadataOutcome(result="version-mismatch", version=outcome.version, metadata=stored)
    tx.publish(
        watchers_of_session(caller.account, body.sid),
        UpdateSession(id=body.sid, metadata=TextVersion(body.metadata, outcome.version)),
    )
    return SessionMetadataOutcome(result="success", version=outcome.version, metadata=body.metadata)


@sessions.event("update-state", invalid=FAILED, failure=FAILED)
async def update_state(
    tx: Transaction, server: Server, caller: Caller, body: ChangeAgentState
) -> AgentStateOutcome | SessionFailed:
    """Replace a session's agent state, unless somebody else did since the caller looked."""
    outcome = await storage.set_agent_state(
        tx, caller.account, body.sid, body.agent_state, body.expected_version
    )
    if outcome is None:
        return SessionFailed()
    if not outcome.changed:
        stored = await whole(server, caller.account, tx, outcome.value)
        return AgentStateOutcome(result="version-mismatch", version=outcome.version, agent_state=stored)
    tx.publish(
        watchers_of_session(caller.account, body.sid),
        UpdateSession(id=body.sid, agent_state=NullableVersion(body.agent_state, outcome.version)),
    )
    return AgentStateOutcome(result="success", version=outcome.version, agent_state=body.agent_state)


def _listing(
    server: Server,
    caller: Caller,
    page: Page[SessionRow],
    shape: type[V],
    reply: Callable[[list[V]], T],
) -> Listing[T]:
    return Listing(
        page=page,
        view=lambda row: shape(**members_of(row)),
        reply=reply,
        again=lambda tx, ids: storage.named(tx, caller.account, ids),
        settled=lambda: server.committer.settled(caller.account),
    )


async def _stop(server: Server, account: str, session: str) -> bool:
    """Ignore the session's heartbeats from here on; False, without effect, for a session not owned.

    Outside of any transaction, since stopping waits for heartbeats that are being stored.
    """
    if not await server.database.read(
        lambda tx: presence_storage.owns_session(tx, account, session), owner=account
    ):
        return False
    await server.presence.stop_session(account, session)
    return True


def _below(cursor: str) -> str | None:
    """The id a page starts below; None for the first page. Raises InvalidCursor."""
    if cursor and not cursor.startswith(CURSOR):
        raise InvalidCursor
    return cursor.removeprefix(CURSOR) or None
