"""The durable message path: messages of all sockets and requests, committed in groups.

While one batch is being committed the next one collects: at low load a message costs one statement
and one COMMIT, at high load a batch of hundreds costs the same. One batch is in flight; its accounts
are held in the database's linearizer, so that no other writer of these accounts publishes in between.

Nothing is answered or delivered before the commit is certain. A batch refused for its data is halved
until the sender at fault stands alone; one that cannot be stored now is tried again, and never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from happy.errors import DatabaseDown, Overloaded, QueryFailed
from happy.ids import new_cuid
from happy.realtime.updates import Encrypted, Message, NewMessage, Update, watchers_of_session
from happy.storage import append as storage
from happy.storage.append import AppendedRow, AppendRow
from happy.storage.messages import NewMessage as IncomingMessage
from happy.storage.messages import StoredMessage

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.metrics import Metrics
    from happy.realtime.hub import Hub
    from happy.storage.database import Database

MAX_BATCH_ROWS = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_QUEUED_ROWS = 20_000
MAX_QUEUED_BYTES = 128 * 1024 * 1024
ANSWER_SECONDS = 30.0
EXPIRY_CHECK_SECONDS = 5.0
RETRY_SECONDS = 0.5

_PASSING = frozenset({"40", "53", "55", "57"})
"""Classes of SQLSTATE that blame the moment: conflicts, resources (a full disk), locks, interventions."""

_REASONS = {"53100": "the disk is full", "57P03": "the database is starting"}
_ATTEMPTS_PER_WORD = 20

Stored = list[StoredMessage] | None
Release = Callable[[], None]


class Append:
    """Messages of one sender to one session: stored together, answered together.

    ``size`` is that of the contents, in characters.
    """

    __slots__ = ("account", "answer", "answered", "rows", "session", "since", "size", "skip")

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
        self.rows = [AppendRow(account, session, m.local_id, new_cuid(), m.content) for m in messages]
        self.size = sum(len(row.content) for row in self.rows)
        self.answer: Deferred[Stored] = Deferred()
        self.answered = False

    def succeed(self, stored: Stored) -> None:
        """Answer, unless the sender was told already that it took too long."""
        if not self.answered:
            self.answered = True
            self.answer.callback(stored)

    def fail(self, error: Exception) -> None:
        """Answer with a failure, unless there was an answer."""
        if not self.answered:
            self.answered = True
            self.answer.errback(error)


class _Batch:
    """What is committed together, in the order the statement wants: by account and session."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = sorted(appends, key=lambda append: (append.account, append.session))
        self.sources = [append for append in self.appends for _ in append.rows]
        self.rows = [row for append in self.appends for row in append.rows]

    def halves(self) -> tuple[_Batch, _Batch]:
        middle = len(self.appends) // 2
        return _Batch(self.appends[:middle]), _Batch(self.appends[middle:])


class Committer(Service):
    """The queue of appended messages, and the one batch in flight."""

    log = Logger()

    def __init__(self, clock: IReactorTime, database: Database, hub: Hub, metrics: Metrics) -> None:
        self._clock = clock
        self._database = database
        self._hub = hub
        self._metrics = metrics
        self._queue: list[Append] = []
        self._queued_rows = 0
        self._queued_size = 0
        self._running = False
        self._in_flight: Sequence[Append] = ()
        self._landings: list[Deferred[None]] = []
        self._expiry = LoopingCall(self._expire)
        self._expiry.clock = clock

    def startService(self) -> None:
        """Begin to watch for answers that are overdue."""
        super().startService()
        self._expiry.start(EXPIRY_CHECK_SECONDS, now=False)

    async def _stop(self) -> None:
        while self._running:
            await self._landing()
        if self._expiry.running:
            self._expiry.stop()

    def stopService(self) -> Deferred[None]:
        """Commit what is queued; fires when nothing is."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def append(
        self, account: str, session: str, messages: Iterable[IncomingMessage], skip: object | None = None
    ) -> Deferred[Stored]:
        """Store messages in the order given and tell the session's watchers, except the socket ``skip``.

        Fires, after the commit and the delivery, with one record for each message ordered by ``seq``; with
        None when the session is unknown or another account's. A ``local_id`` that is stored already gives
        the stored record. Fails with Overloaded when the queue is full, with DatabaseDown when nothing
        could be committed for half a minute (the messages may still be stored later), and with the
        database's own error when it refuses these messages.
        """
        append = Append(account, session, messages, skip, self._clock.seconds())
        if self._full(append):
            append.fail(Overloaded("too many messages wait for the database"))
            return append.answer
        self._queue.append(append)
        self._account_for(append, 1)
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())
        return append.answer

    def _full(self, append: Append) -> bool:
        return bool(self._queue) and (
            self._queued_rows + len(append.rows) > MAX_QUEUED_ROWS
            or self._queued_size + append.size > MAX_QUEUED_BYTES
        )

    def _account_for(self, append: Append, sign: int) -> None:
        self._queued_rows += sign * len(append.rows)
        self._queued_size += sign * append.size
        self._metrics.happy_commit_queue_rows.set(self._queued_rows)

    def settled(self, session: str | None = None) -> Deferred[None]:
        """Fires once no batch that was in flight at the call holds messages of the session (or at all).

        A reader waits for it before it reveals a message's number: by then the update is delivered (D-3).
        """
        if any(session is None or append.session == session for append in self._in_flight):
            return self._landing()
        fired: Deferred[None] = Deferred()
        fired.callback(None)
        return fired

    def _landing(self) -> Deferred[None]:
        landing: Deferred[None] = Deferred()
        self._landings.append(landing)
        return landing

    # -- batches -------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self._queue:
            appends, releases = await self._next_batch()
            self._in_flight = appends
            started = self._clock.seconds()
            try:
                await self._commit(_Batch(appends))
            except Exception as error:
                self._broken(appends, error)
            finally:
                for release in releases:
                    release()
                self._metrics.happy_commit_seconds.observe(self._clock.seconds() - started)
                self._land()
        self._running = False
        self._land()

    def _land(self) -> None:
        self._in_flight = ()
        landings, self._landings = self._landings, []
        for landing in landings:
            landing.callback(None)

    def _broken(self, appends: Sequence[Append], error: Exception) -> None:
        """A fault of ours must not leave a sender without an answer, nor stop the others."""
        self.log.failure("Delivering a batch failed")
        for append in appends:
            append.fail(error)

    async def _next_batch(self) -> tuple[list[Append], list[Release]]:
        """Queued appends whose accounts nobody else holds; waits while all of them are held."""
        held: dict[str, Release] = {}
        appends = self._take(held)
        if not appends:
            account = self._queue[0].account
            held[account] = await self._database.linearizer.acquire((account,))
            appends = self._take(held)
        return appends, list(held.values())

    def _take(self, held: dict[str, Release]) -> list[Append]:
        taken: list[Append] = []
        left: list[Append] = []
        busy: set[str] = set()
        rows = size = 0
        queue = iter(self._queue)
        for append in queue:
            if taken and (rows + len(append.rows) > MAX_BATCH_ROWS or size + append.size > MAX_BATCH_BYTES):
                left.append(append)
                break
            if append.account in busy or not self._hold(append.account, held):
                busy.add(append.account)
                left.append(append)
                continue
            taken.append(append)
            rows += len(append.rows)
            size += append.size
        self._queue = left + list(queue)
        for append in taken:
            self._account_for(append, -1)
        return taken

    def _hold(self, account: str, held: dict[str, Release]) -> bool:
        if account not in held:
            release = self._database.linearizer.try_acquire((account,))
            if release is None:
                return False
            held[account] = release
        return True

    async def _commit(self, batch: _Batch) -> None:
        try:
            rows = await self._store(batch.rows)
        except Exception as error:
            await self._refused(batch, error)
            return
        self._metrics.happy_commit_batches_total.inc()
        self._metrics.happy_commit_rows.observe(len(batch.rows))
        self._publish(batch, rows)

    async def _store(self, rows: Sequence[AppendRow]) -> list[AppendedRow]:
        """Store a batch, for as long as that takes; fails only for what the rows hold."""
        for attempt in count():
            try:
                return await self._database.transact(lambda tx: storage.append(tx, rows), reserved=True)
            except (DatabaseDown, Overloaded):
                reason = "the database does not answer"
            except QueryFailed as refused:
                if (refused.sqlstate or "")[:2] not in _PASSING:
                    raise
                reason = _REASONS.get(refused.sqlstate or "", f"state {refused.sqlstate}")
            if attempt % _ATTEMPTS_PER_WORD == 0:
                waiting = len(rows) + self._queued_rows
                self.log.warn("{count} messages wait: {reason}", count=waiting, reason=reason)
            await deferLater(self._clock, RETRY_SECONDS)
        raise AssertionError("an attempt is always followed by another")

    async def _refused(self, batch: _Batch, error: Exception) -> None:
        if len(batch.appends) > 1:
            for half in batch.halves():
                await self._commit(half)
            return
        self.log.warn("A message was refused by the database: {error}", error=type(error).__name__)
        self._metrics.happy_commit_refused_total.inc()
        batch.appends[0].fail(error)

    def _publish(self, batch: _Batch, rows: Sequence[AppendedRow]) -> None:
        """Deliver what is new, in sequence order; then answer."""
        stored: dict[int, list[StoredMessage]] = {id(append): [] for append in batch.appends}
        for row in rows:
            source, given = batch.sources[row.row - 1], batch.rows[row.row - 1]
            stored[id(source)].append(
                StoredMessage(row.id, row.seq, given.local_id, row.created_at, row.updated_at, row.new)
            )
            if row.new and row.account_seq is not None:
                self._hub.deliver(_announcement(source, given, row, row.account_seq))
        for append in batch.appends:
            found = stored[id(append)]
            append.succeed(sorted(found, key=lambda message: message.seq) if found else None)

    def _expire(self) -> None:
        """Tell senders that wait too long so; what they sent stays queued."""
        before = self._clock.seconds() - ANSWER_SECONDS
        for append in (*self._in_flight, *self._queue):
            if append.since <= before:
                append.fail(DatabaseDown("the message could not be committed in time"))


def _announcement(source: Append, given: AppendRow, row: AppendedRow, account_seq: int) -> Update:
    message = Message(
        id=row.id,
        seq=row.seq,
        content=Encrypted(c=given.content),
        local_id=given.local_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
    return Update(
        audience=watchers_of_session(given.account, given.session),
        seq=account_seq,
        body=NewMessage(sid=given.session, message=message),
        created_at=row.created_at,
        skip=source.skip,
    )
