"""The durable message path: messages of all sockets and requests, committed in groups.

While one batch is being committed the next one collects: at low load a message costs one statement that
commits by itself, at high load a batch of hundreds costs the same. PostgreSQL has one batch at a time;
while it works on one, the batch before is delivered and answered. The accounts of both are held in the
database's linearizer, so that no other writer of these accounts publishes in between. For accounts that
others hold the committer stands in line, and goes on with the rest.

Nothing is answered or delivered before the commit is certain. A batch refused for its data is halved
until the sender at fault stands alone; one that cannot be stored now, or of which nobody knows whether it
was, is sent again, and never lost or stored twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from happy.errors import ConnectionLost, DatabaseDown, Overloaded, QueryFailed
from happy.realtime.batches import Append, Batch, Flight, Release, Stored
from happy.storage.append import AppendedRow, AppendRow, Writer
from happy.storage.messages import NewMessage

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.metrics import Metrics
    from happy.realtime.hub import Hub
    from happy.storage.database import Database

MAX_BATCH_ROWS = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_QUEUED_ROWS = 20_000
MAX_QUEUED_BYTES = 128 * 1024 * 1024
MAX_ACCOUNT_ROWS = 10_000
"""Of the queue, what one account may have: the rest is for the others."""

ANSWER_SECONDS = 30.0
EXPIRY_CHECK_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between attempts at storing a batch."""
FIRST_WORD_SECONDS, WORD_SECONDS = 1.0, 10.0
"""When the log first says that messages wait, and how often."""

_PASSING = frozenset({"40", "53", "55", "57"})
"""Classes of SQLSTATE that blame the moment: conflicts, resources (a full disk), locks, interventions."""

_REASONS = {"53100": "the disk is full", "57P03": "the database is starting"}


class Committer(Service):
    """The queue of appended messages, and the flights that carry them into the database."""

    log = Logger()

    def __init__(self, clock: IReactorTime, database: Database, hub: Hub, metrics: Metrics) -> None:
        self._clock = clock
        self._database = database
        self._hub = hub
        self._metrics = metrics
        self._writer = Writer(database)
        self._queue: list[Append] = []
        self._queued_rows = 0
        self._queued_size = 0
        self._queued_of: dict[str, int] = {}
        self._asked: set[str] = set()
        self._granted: dict[str, Release] = {}
        self._flights: list[Flight] = []
        self._running = False
        self._idle: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None
        self._expiry = LoopingCall(self._expire)
        self._expiry.clock = clock
        metrics.happy_commit_queue_rows.set_function(lambda: self._queued_rows)

    def startService(self) -> None:
        """Begin to watch for answers that are overdue."""
        super().startService()
        self._expiry.start(EXPIRY_CHECK_SECONDS, now=False)

    def stopService(self) -> Deferred[None]:
        """Commit what is queued; fires when nothing is."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._running:
            self._stopped = Deferred()
            await self._stopped
        if self._expiry.running:
            self._expiry.stop()

    def append(
        self, account: str, session: str, messages: Iterable[NewMessage], skip: object | None = None
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
        elif self._idle is not None and account not in self._asked:
            self._wake()
        return append.answer

    def _full(self, append: Append) -> bool:
        rows, own = len(append.rows), self._queued_of.get(append.account, 0)
        return bool(own and own + rows > MAX_ACCOUNT_ROWS) or bool(
            self._queue
            and (
                self._queued_rows + rows > MAX_QUEUED_ROWS
                or self._queued_size + append.size > MAX_QUEUED_BYTES
            )
        )

    def _account_for(self, append: Append, sign: int) -> None:
        self._queued_rows += sign * len(append.rows)
        self._queued_size += sign * append.size
        own = self._queued_of.get(append.account, 0) + sign * len(append.rows)
        if own:
            self._queued_of[append.account] = own
        else:
            del self._queued_of[append.account]

    def settled(self, session: str | None = None) -> Deferred[None]:
        """Fires once no batch that was in flight at the call holds messages of the session (or at all).

        A reader waits for it before it reveals a message's number: by then the update is delivered (D-3).
        """
        for flight in reversed(self._flights):
            if flight.carries(session):
                return flight.landing()
        fired: Deferred[None] = Deferred()
        fired.callback(None)
        return fired

    # -- from the queue to the answers ---------------------------------------------------------------

    async def _run(self) -> None:
        arrived: Flight | None = None
        while self._queue or arrived is not None:
            flight = self._take_off()
            carried = self._carry(flight) if flight is not None else None
            if arrived is not None:
                self._land(arrived)
            elif flight is None:
                await self._something_to_take()
            if carried is not None:
                await carried
            arrived = flight
        self._running = False
        if self._stopped is not None:
            self._stopped.callback(None)

    def _take_off(self) -> Flight | None:
        """What of the queue has accounts that nobody else holds, if there is any."""
        held, self._granted = self._granted, {}
        appends = self._take(held)
        if not appends:
            return None
        flight = Flight(appends, held.values(), self._clock.seconds())
        self._flights.append(flight)
        return flight

    def _carry(self, flight: Flight) -> Deferred[None]:
        """Into the database; the statement is on its way when this returns."""
        return Deferred.fromCoroutine(self._commit(flight, Batch(flight.appends)))

    def _land(self, flight: Flight) -> None:
        """Deliver what is stored, in sequence order; then answer."""
        try:
            for batch, rows in flight.stored:
                for update in batch.updates(rows):
                    self._hub.deliver(update)
                batch.answer(rows)
            for append, error in flight.refused:
                append.fail(error)
        except Exception as error:
            # A fault of ours must not leave a sender without an answer, nor stop the others.
            self.log.failure("Delivering a batch failed")
            for append in flight.appends:
                append.fail(error)
        self._flights.remove(flight)
        self._metrics.happy_commit_seconds.observe(self._clock.seconds() - flight.since)
        flight.land()

    # -- whose turn it is ----------------------------------------------------------------------------

    def _take(self, held: dict[str, Release]) -> list[Append]:
        taken: list[Append] = []
        left: list[Append] = []
        rows = size = 0
        queue = iter(self._queue)
        for append in queue:
            if taken and (rows + len(append.rows) > MAX_BATCH_ROWS or size + append.size > MAX_BATCH_BYTES):
                left.append(append)
                break
            if not self._hold(append.account, held):
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
        """Hold an account for the batch; otherwise stand in line for it, while other accounts go on."""
        if account in held:
            return True
        if account in self._asked:
            return False
        release = self._database.linearizer.try_acquire((account,))
        if release is None:
            self._ask_for(account)
            return False
        held[account] = release
        return True

    def _ask_for(self, account: str) -> None:
        self._asked.add(account)

        def granted(release: Release) -> None:
            self._asked.discard(account)
            self._granted[account] = release
            self._wake()

        Deferred.fromCoroutine(self._database.linearizer.acquire((account,))).addCallback(granted)

    def _something_to_take(self) -> Deferred[None]:
        self._idle = Deferred()
        return self._idle

    def _wake(self) -> None:
        """There is something to take, if that is what is waited for."""
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.callback(None)

    # -- the database --------------------------------------------------------------------------------

    async def _commit(self, flight: Flight, batch: Batch) -> None:
        try:
            rows = await self._store(batch.rows)
        except Exception as error:
            await self._refused(flight, batch, error)
            return
        self._metrics.happy_commit_batches_total.inc()
        self._metrics.happy_commit_rows.observe(len(batch.rows))
        flight.stored.append((batch, rows))

    async def _store(self, rows: Sequence[AppendRow]) -> list[AppendedRow]:
        """Store a batch, for as long as that takes; fails only for what the rows hold."""
        pause, word = FIRST_PAUSE, self._clock.seconds() + FIRST_WORD_SECONDS
        while True:
            try:
                return await self._writer.append(rows)
            except Overloaded:
                reason = "the database is being closed"
            except QueryFailed as refused:
                if not self._writer.in_doubt and (refused.sqlstate or "")[:2] not in _PASSING:
                    raise
                reason = _reason(refused)
            if self._clock.seconds() >= word:
                word = self._clock.seconds() + WORD_SECONDS
                waiting = len(rows) + self._queued_rows
                self.log.warn("{count} messages wait: {reason}", count=waiting, reason=reason)
            await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _refused(self, flight: Flight, batch: Batch, error: Exception) -> None:
        if len(batch.appends) > 1:
            for half in batch.halves():
                await self._commit(flight, half)
            return
        self.log.warn("A message was refused by the database: {error}", error=type(error).__name__)
        self._metrics.happy_commit_refused_total.inc()
        flight.refused.append((batch.appends[0], error))

    def _expire(self) -> None:
        """Tell senders that wait too long so; what they sent stays queued."""
        before = self._clock.seconds() - ANSWER_SECONDS
        flying = (append for flight in self._flights for append in flight.appends)
        for append in (*flying, *self._queue):
            if append.since <= before:
                append.fail(DatabaseDown("the message could not be committed in time"))


def _reason(refused: QueryFailed) -> str:
    if isinstance(refused, ConnectionLost):
        return "the database does not answer"
    return _REASONS.get(refused.sqlstate or "", f"state {refused.sqlstate}")
