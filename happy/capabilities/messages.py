"""Messages of a session: appending over HTTP and sockets, reading in pages (http.md 6.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Raw, UnsetType

from happy.api.answers import failure
from happy.api.declare import MIB, Caller, Capability
from happy.api.pieces import Listing
from happy.api.structs import Body, Key, NonEmpty, NonNegative, Query, Reply, Timestamp, stands_for
from happy.base.errors import Refusal
from happy.capabilities._sessions import SessionNotFound, check_owner
from happy.capabilities.server import Server
from happy.realtime.updates import Encrypted
from happy.socketio.socket import Socket
from happy.storage import messages as storage
from happy.storage.large import Large, Page
from happy.storage.messages import BEYOND_ALL, IncomingMessage, MessageRow, StoredMessage

T = TypeVar("T")

LATEST = 150
MAX_BATCH = 1000

messages = Capability("messages")


class Unstorable(Refusal):
    """A text holds U+0000, which PostgreSQL cannot store; the contract calls that a failure (http.md 3.9)."""

    status = 500

    def body(self) -> Mapping[str, Any]:
        return failure().members


class MessageView(Reply):
    """A stored message; ``seq`` counts within the session, ``content`` is passed on as stored."""

    id: str
    seq: int
    content: Annotated[Raw, stands_for(Encrypted)]
    local_id: str | None
    created_at: Timestamp
    updated_at: Timestamp


class LatestMessages(Reply):
    messages: list[MessageView]


class MessagePage(Reply):
    """``has_more`` tells whether further messages follow in the direction of reading."""

    messages: list[MessageView]
    has_more: bool


class MessagePageQuery(Query, rename=None):
    """Read forwards from above ``after_seq`` (default 0), or backwards from below ``before_seq``."""

    after_seq: NonNegative | UnsetType = UNSET
    before_seq: Annotated[int, Meta(ge=1, le=2**53 - 1)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=500)] = 100

    def __post_init__(self) -> None:
        if self.after_seq is not UNSET and self.before_seq is not UNSET:
            raise ValueError("after_seq and before_seq are mutually exclusive")


class MessageToStore(Body):
    """``content`` is sealed; ``local_id`` tells a repetition from a new message."""

    content: str
    local_id: NonEmpty


class NewMessages(Body):
    messages: Annotated[list[MessageToStore], Meta(min_length=1, max_length=MAX_BATCH)]


class Receipt(Reply):
    """A stored message without its content."""

    id: str
    seq: int
    local_id: str | None
    created_at: Timestamp
    updated_at: Timestamp


class Receipts(Reply):
    messages: list[Receipt]


class Said(Body):
    """A ``local_id`` that is no text does not count."""

    sid: Key
    message: str
    local_id: Annotated[Any, stands_for(str | UnsetType)] = None


@messages.get("/v1/sessions/:sessionId/messages", refuses=(SessionNotFound,))
async def latest(server: Server, caller: Caller, session_id: str) -> Listing[LatestMessages]:
    """The newest messages, newest first."""
    found = await server.database.read(
        lambda tx: storage.before(tx, caller.account, session_id, BEYOND_ALL, LATEST), owner=caller.account
    )
    return _listing(server, caller, session_id, _owned(found), lambda views: LatestMessages(messages=views))


@messages.get("/v3/sessions/:sessionId/messages", refuses=(SessionNotFound,))
async def page(
    server: Server, caller: Caller, session_id: str, query: MessagePageQuery
) -> Listing[MessagePage]:
    """One page forwards or backwards. Numbers beyond the storable range simply have nothing behind them."""
    account, fetched = caller.account, query.limit + 1
    if (below := query.before_seq) is not UNSET:
        found = await server.database.read(
            lambda tx: storage.before(tx, account, session_id, below, fetched), owner=account
        )
    else:
        above = 0 if query.after_seq is UNSET else query.after_seq
        found = await server.database.read(
            lambda tx: storage.after(tx, account, session_id, above, fetched), owner=account
        )
    rows = _owned(found)
    has_more = len(rows.rows) > query.limit

    def reply(views: list[MessageView]) -> MessagePage:
        return MessagePage(messages=views, has_more=has_more)

    return _listing(server, caller, session_id, rows.first(query.limit), reply)


@messages.post("/v3/sessions/:sessionId/messages", refuses=(SessionNotFound, Unstorable), limit=100 * MIB)
async def append(server: Server, caller: Caller, session_id: str, body: NewMessages) -> Receipts:
    """Store a batch; repeated messages keep the row they have. Answered once everything is stored."""
    batch = _distinct(body.messages)
    if not all(map(_storable, batch)):
        await check_owner(server, caller, session_id)
        raise Unstorable
    stored = await server.committer.append(caller.account, session_id, batch)
    if stored is None:
        raise SessionNotFound
    return Receipts(messages=[_receipt(message) for message in stored])


@messages.event("message", acks=False)
async def say(server: Server, caller: Caller, socket: Socket, body: Said) -> None:
    """Store one message and tell everybody but the sender.

    The messages of a socket keep their order because each is queued before anything is waited for.
    """
    message = IncomingMessage(body.local_id if isinstance(body.local_id, str) else None, body.message)
    if _storable(message) and "\0" not in body.sid:
        await server.committer.append(caller.account, body.sid, [message], skip=socket)


def _storable(message: IncomingMessage) -> bool:
    """Whether PostgreSQL can hold it. Looked at here, so that it cannot spoil a batch of other senders."""
    return "\0" not in message.content and "\0" not in (message.local_id or "")


def _distinct(batch: list[MessageToStore]) -> list[IncomingMessage]:
    """The batch with the first of each local id."""
    first: dict[str, IncomingMessage] = {}
    for message in batch:
        first.setdefault(message.local_id, IncomingMessage(message.local_id, message.content))
    return list(first.values())


def _owned(found: Page[MessageRow] | None) -> Page[MessageRow]:
    """The rows. Raises SessionNotFound where there are none to look at."""
    if found is None:
        raise SessionNotFound
    return found


def _listing(
    server: Server,
    caller: Caller,
    session: str,
    rows: Page[MessageRow],
    reply: Callable[[list[MessageView]], T],
) -> Listing[T]:
    """Messages, shown once the sockets here have been told of them (D-3)."""
    return Listing(
        page=rows,
        view=_view,
        reply=reply,
        again=lambda tx, ids: storage.named(tx, session, ids),
        settled=lambda: server.committer.settled(caller.account, session),
    )


def _view(row: MessageRow) -> MessageView:
    content: Any = row.content
    if not isinstance(content, Large):
        content = Raw(content.encode())
    return MessageView(
        id=row.id,
        seq=row.seq,
        content=content,
        local_id=row.local_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _receipt(message: StoredMessage) -> Receipt:
    return Receipt(
        id=message.id,
        seq=message.seq,
        local_id=message.local_id,
        created_at=message.created_at,
        updated_at=message.updated_at,
    )
