"""Messages on their way into the database: what one sender appends, and what is committed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from happy.base.coroutines import Outcome
from happy.base.ids import new_cuid
from happy.realtime.updates import Encrypted, Message, NewMessage, Update, watchers_of_session
from happy.storage.append import AppendedRow, AppendRow
from happy.storage.messages import IncomingMessage, StoredMessage

ROW_BYTES: Final = 256 * 1024 * 1024 // 10_000
"""What a row counts besides its size, where messages wait: some 3 KiB, which consist of so many small objects
that the interpreter cannot give all of it back afterwards."""

Stored = list[StoredMessage] | None
Release = Callable[[], None]

_place = attrgetter("account", "session")


def weight(rows: int, size: int) -> int:
    """What so many rows with texts of that size count."""
    return size + ROW_BYTES * rows


class Append:
    """Messages of one sender to one session: stored together, answered together.

    ``size`` is that of the texts, in characters, ``weight`` what it counts where it waits; ``since`` is the
    clock's time when it was queued.
    """

    __slots__ = ("account", "answer", "answered", "rows", "session", "since", "size", "skip", "weight")

    def __init__(
        self,
        account: str,
        session: str,
        messages: Iterable[IncomingMessage],
        skip: object | None,
        since: float,
    ) -> None:
        self.account = account
        self.session = session
        self.skip = skip
        self.since = since
        skipped: str | None = getattr(skip, "id", None)
        self.rows: list[AppendRow] = []
        size = 0
        for message in messages:
            local_id, content = message.local_id, message.content
            self.rows.append(AppendRow(account, session, local_id, new_cuid(), content, skipped))
            size += len(session) + len(local_id or "") + len(content)
        self.size = size
        self.weight = weight(len(self.rows), size)
        self.answer: Outcome[Stored] = Outcome()
        self.answered = False

    def succeed(self, stored: Stored) -> None:
        """Answer, unless the sender was told already that it took too long."""
        if not self.answered:
            self.answered = True
            self.answer.settle(stored)

    def fail(self, error: Exception) -> None:
        """Answer with a failure, unless there was an answer."""
        if not self.answered:
            self.answered = True
            self.answer.settle(Failure(error))


class Batch:
    """What is committed together, in the order the statement wants: by account and session."""

    def __init__(self, appends: Iterable[Append]) -> None:
        self.appends = sorted(appends, key=_place)
        self.sources = [append for append in self.appends for _ in append.rows]
        self.rows = [row for append in self.appends for row in append.rows]

    def halves(self) -> tuple[Batch, Batch]:
        """The same appends in two batches; there must be more than one."""
        middle = len(self.appends) // 2
        return Batch(self.appends[:middle]), Batch(self.appends[middle:])

    def updates(self, rows: Iterable[AppendedRow]) -> Iterator[Update]:
        """What is to be told of the rows stored now, in sequence order for each account."""
        for row in rows:
            if row.new and row.account_seq is not None:
                source, given = self.sources[row.row - 1], self.rows[row.row - 1]
                message = Message(
                    id=row.id,
                    seq=row.seq,
                    content=Encrypted(c=given.content),
                    local_id=given.local_id,
                    created_at=row.created_at,
                    updated_at=row.updated_at,
                )
                yield message_update(given.account, given.session, row.account_seq, message, source.skip)

    def answers(self, rows: Iterable[AppendedRow]) -> Iterator[tuple[Append, Stored, bool]]:
        """What became of each sender's messages, and whether some of them were there before."""
        stored: dict[Append, list[StoredMessage]] = {append: [] for append in self.appends}
        repeated: set[Append] = set()
        for row in rows:
            append = self.sources[row.row - 1]
            local_id = self.rows[row.row - 1].local_id
            stored[append].append(
                StoredMessage(row.id, row.seq, local_id, row.created_at, row.updated_at, row.new)
            )
            if not row.new:
                repeated.add(append)
        for append, found in stored.items():
            if len(found) > 1:
                found.sort(key=lambda message: message.seq)
            yield append, found or None, append in repeated


class Commit:
    """Appends between the queue and their answers, and what holds their accounts meanwhile.

    ``pending`` is what is not stored yet, ``stored`` are the batches that were, each with its rows, and
    ``refused`` the appends that the database would not have. One that is ``diverted`` does not hold up those
    that come after it. ``releases`` are in the order in which ``appends`` name their accounts. ``weights`` is
    what the messages of each weigh.
    """

    def __init__(self, appends: Sequence[Append], releases: Iterable[Release], since: float) -> None:
        self.appends = appends
        self.since = since
        self.pending = deque([Batch(appends)])
        self.stored: list[tuple[Batch, Sequence[AppendedRow]]] = []
        self.refused: list[tuple[Append, Exception]] = []
        self.diverted = False
        self.weights: dict[str, int] = {}
        for append in appends:
            self.weights[append.account] = self.weights.get(append.account, 0) + append.weight
        self._releases = dict(zip(self.weights, releases, strict=True))
        self._watchers: dict[str, list[Deferred[None]]] = {}

    @property
    def accounts(self) -> list[str]:
        """Whose messages it has."""
        return list(self._releases)

    def holds(self, account: str, session: str | None = None) -> bool:
        """Whether it has messages of the account; of one of its sessions, if one is named."""
        return account in self._releases and (
            session is None
            or any(append.session == session for append in self.appends if append.account == account)
        )

    def delivered(self, account: str) -> Deferred[None]:
        """Fires when everything of the account is delivered and answered."""
        watcher: Deferred[None] = Deferred()
        self._watchers.setdefault(account, []).append(watcher)
        return watcher

    def finish(self, account: str) -> bool:
        """Give an account back, and tell whoever waited for it. Whether it was the last one."""
        self._releases.pop(account)()
        for watcher in self._watchers.pop(account, ()):
            watcher.callback(None)
        return not self._releases


def message_update(
    account: str, session: str, seq: int, message: Message, skip: object | None = None
) -> Update:
    """The update about a message of a session; ``seq`` is the account's number."""
    return Update(
        audience=watchers_of_session(account, session),
        seq=seq,
        body=NewMessage(sid=session, message=message),
        created_at=message.created_at,
        skip=skip,
    )
