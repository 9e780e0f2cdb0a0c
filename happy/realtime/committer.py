"""The durable message path: messages of all sockets and requests, committed in groups.

While one batch is being committed the next one collects: at low load a message costs one statement that
commits by itself, at high load a batch of hundreds costs the same. PostgreSQL has one batch at a time;
while it works on one, the batch before is delivered and answered. The accounts of both are held in the
database's linearizer, so that no other writer of these accounts publishes in between. For accounts that
others hold the committer stands in line, and goes on with the rest. Each account of a batch is given back
when its own clients have been told: one with thousands of them keeps only itself waiting.

What would keep the others waiting is stored aside: what is large, and batches for which PostgreSQL takes too
long.

Nothing is answered or delivered before the commit is certain. A batch refused for its data is halved
until the sender at fault stands alone; one that cannot be stored now, or of which nobody knows whether it
was, is sent again, and never lost or stored twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.coroutines import outcome_of
from happy.base.errors import ConnectionLost, DatabaseDown, Overloaded, QueryFailed
from happy.base.rounds import Rounds
from happy.base.waiting import within
from happy.realtime.batches import Append, Batch, Commit, Release, Stored
from happy.realtime.message_queue import MAX_QUEUED_BYTES, MessageQueue
from happy.storage.append import AppendedRow
from happy.storage.messages import IncomingMessage
from happy.storage.writer import Writer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.metrics import Metrics
    from happy.realtime.broadcaster import Broadcaster
    from happy.storage.database import Database

ANSWER_SECONDS = 30.0
EXPIRY_CHECK_SECONDS = 2.0
SETTLE_SECONDS = 5.0
"""How long a reader waits for messages under way; requests have more patience than that."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between attempts at storing a batch."""
FIRST_WORD_SECONDS, WORD_SECONDS = 1.0, 10.0
"""When the log first says that messages wait, and how often."""
SLOW_ATTEMPTS = 3
"""How often one sender's messages may be too much for PostgreSQL before they are refused."""

MAX_UNTOLD_BYTES = MAX_QUEUED_BYTES
"""Weight of messages that are being stored or told. An account has a part of one batch in it."""

SLOW = "slow"
"""Why messages were turned away: PostgreSQL took too long to store them."""

_PASSING = frozenset({"40", "53", "55", "57"})
"""Classes of SQLSTATE that blame the moment: conflicts, resources (a full disk), locks, interventions."""

_TOO_MUCH = frozenset({"53200", "55P03", "57014"})
"""Those that may blame the batch after all: no memory for it, a row that somebody keeps, no time."""

_REASONS = {"53100": "the disk is full", "57P03": "the database is starting"}


class _TooMuch(Exception):
    """A batch takes PostgreSQL too long."""


class Committer:
    """The queue of appended messages, and the commits that take them into the database."""

    log = Logger()

    def __init__(self, clock: IReactorTime, database: Database, hub: Broadcaster, metrics: Metrics) -> None:
        self._clock = clock
        self._hub = hub
        self._metrics = metrics
        self._writer = Writer(database)
        self._aside = Writer(database, aside=True)
        self._queue = MessageQueue(clock, database.linearizer, self._look_again, self._count_refusal)
        self._commits: list[Commit] = []
        self._under_way = 0
        self._only_heavy = False
        self._diverted: deque[Commit] = deque()
        self._running = False
        self._running_aside = False
        self._stopped: Deferred[None] | None = None
        self._expiry = Rounds(
            "looking for overdue answers",
            self._expire,
            clock,
            seconds=EXPIRY_CHECK_SECONDS,
            patience=ANSWER_SECONDS,
        )
        metrics.happy_commit_queue_rows.set_function(lambda: self._queue.rows)

    def start(self) -> None:
        """Begin to watch for answers that are overdue."""
        self._expiry.start()

    def stop(self) -> Deferred[None]:
        """Commit what is queued, and refuse what comes now; fires when nothing is left."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopped = Deferred()
        self._look_for_the_end()
        await self._stopped
        self._expiry.stop()

    def append(
        self, account: str, session: str, messages: Iterable[IncomingMessage], skip: object | None = None
    ) -> Deferred[Stored]:
        """Store messages in the order given and tell the session's watchers, except the socket ``skip``.

        Fires, after the commit and the delivery, with one record for each message ordered by ``seq``; with
        None when the session is unknown or another account's. A ``local_id`` that is stored already gives
        the stored record. Fails with Overloaded when the queue is full, or the account has its share of it,
        or PostgreSQL takes too long to store these messages; with DatabaseDown when nothing could be
        committed for half a minute (they may still be stored later), and with the database's own error
        when it refuses them.
        """
        append = Append(account, session, messages, skip, self._clock.seconds())
        if self._stopped is not None:
            append.fail(Overloaded("the server stops"))
        elif not self._queue.add(append):
            append.fail(Overloaded("too many messages wait for the database"))
        else:
            self._look_again()
        return append.answer

    def settled(self, account: str, session: str | None = None) -> Deferred[None]:
        """Fires once no batch that was in flight at the call holds messages of the account, or its session.

        A reader waits for it before it reveals a message's number: by then the update is delivered (D-3).
        Fails with Overloaded when that takes too long.
        """
        for commit in self._commits:
            if commit.holds(account, session):
                settled = within(SETTLE_SECONDS, commit.delivered(account), self._clock)
                return settled.addCallbacks(lambda _: self._hub.current(account), _unsettled)
        return self._hub.current(account) or succeed(None)

    def _count_refusal(self, why: str) -> None:
        self._metrics.happy_commit_turned_away_total.labels(why).inc()

    # -- from the queue to the answers ---------------------------------------------------------------

    def _look_again(self) -> None:
        """Something new waits, or there is room again."""
        self._only_heavy = False
        self._wake()

    def _wake(self) -> None:
        """Something may be there to be taken."""
        if not self._running and self._common:
            self._running = True
            outcome_of(self._run())
        if not self._running_aside and (self._diverted or (self._queue.large and not self._full)):
            self._running_aside = True
            outcome_of(self._run_aside())

    @property
    def _full(self) -> bool:
        """Whether so much is stored and not told that only little more of each account is stored."""
        return self._under_way >= MAX_UNTOLD_BYTES

    @property
    def _common(self) -> bool:
        """Whether there may be something for a batch."""
        return bool(self._queue.common) and not self._only_heavy

    async def _run(self) -> None:
        """One batch after another, each sent before the one before is answered."""
        stored: Commit | None = None
        while stored is not None or self._common:
            commit = self._next_common() if self._common else None
            # The statement is on its way when this returns.
            storing = outcome_of(self._store_or_divert(commit)) if commit is not None else None
            if stored is not None:
                self._deliver(stored)
            if storing is not None:
                await storing
            stored = None if commit is None or commit.diverted else commit
        self._running = False
        self._wake()
        self._look_for_the_end()

    async def _run_aside(self) -> None:
        while (commit := self._next_aside()) is not None:
            await self._store_all(commit, self._aside)
            self._deliver(commit)
        self._running_aside = False
        self._wake()
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        busy = self._running or self._running_aside or self._commits or len(self._queue)
        if self._stopped is not None and not self._stopped.called and not busy:
            self._stopped.callback(None)

    def _next_common(self) -> Commit | None:
        """What of the queue has accounts that nobody else holds, if there is any."""
        appends, releases = self._queue.take(light=self._full)
        self._only_heavy = not appends
        if self._queue.large:
            self._wake()
        return self._begin(appends, releases) if appends else None

    def _next_aside(self) -> Commit | None:
        if self._diverted:
            return self._diverted.popleft()
        taken = None if self._full else self._queue.take_large()
        return None if taken is None else self._begin([taken[0]], [taken[1]])

    def _begin(self, appends: list[Append], releases: list[Release]) -> Commit:
        commit = Commit(appends, releases, self._clock.seconds())
        self._commits.append(commit)
        self._under_way += sum(commit.weights.values())
        return commit

    async def _store_or_divert(self, commit: Commit) -> None:
        await self._store_all(commit, self._writer)
        if commit.pending:
            commit.diverted = True
            self._diverted.append(commit)
            self._wake()

    def _deliver(self, commit: Commit) -> None:
        """Deliver what is stored, in sequence order; then answer. Each account gets there by itself."""
        after = self._hub.after
        for batch, rows in commit.stored:
            for update in batch.updates(rows):
                try:
                    self._hub.deliver(update)
                except Exception:
                    # A fault of ours must not leave a sender without an answer, nor stop the others.
                    self.log.failure("Delivering a message failed")
            for append, stored, repeated in batch.answers(rows):
                current = self._hub.current(append.account) if repeated else None
                if current is None:
                    after(append.account, append.succeed, stored)
                else:
                    current.addCallback(partial(self._succeed, append, stored))
        for append, error in commit.refused:
            after(append.account, append.fail, error)
        for account in commit.accounts:
            after(account, self._delivered, commit, account)

    def _succeed(self, append: Append, stored: Stored, _: None) -> None:
        self._hub.after(append.account, append.succeed, stored)

    def _delivered(self, commit: Commit, account: str) -> None:
        """Everything of an account is delivered and answered."""
        full = self._full
        self._under_way -= commit.weights[account]
        over = commit.finish(account)
        if over:
            self._commits.remove(commit)
            self._metrics.happy_commit_seconds.observe(self._clock.seconds() - commit.since)
        if full or over:
            self._look_again()
        if over:
            self._look_for_the_end()

    # -- the database --------------------------------------------------------------------------------

    async def _store_all(self, commit: Commit, writer: Writer) -> None:
        """Store what is pending of a commit, unless that takes too long and can be done aside."""
        while commit.pending:
            batch = commit.pending.popleft()
            try:
                rows = await self._store(batch, writer)
            except _TooMuch as error:
                if writer is not self._aside:
                    commit.pending.appendleft(batch)
                    return
                self._refused(commit, batch, Overloaded(str(error)))
            except Exception as error:
                self._refused(commit, batch, error)
            else:
                self._metrics.happy_commit_batches_total.inc()
                self._metrics.happy_commit_rows.observe(len(batch.rows))
                commit.stored.append((batch, rows))

    async def _store(self, batch: Batch, writer: Writer) -> list[AppendedRow]:
        """Store a batch, for as long as that takes; fails only for what it holds."""
        pause, word = FIRST_PAUSE, self._clock.seconds() + FIRST_WORD_SECONDS
        slow = 0
        while True:
            try:
                return await writer.append(batch.rows)
            except Overloaded:
                reason = "the database is busy"
            except QueryFailed as refused:
                if not writer.in_doubt:
                    slow += refused.sqlstate in _TOO_MUCH
                    if slow == (SLOW_ATTEMPTS if writer is self._aside and len(batch.appends) == 1 else 1):
                        raise _TooMuch("the messages cannot be stored in time") from None
                    if (refused.sqlstate or "")[:2] not in _PASSING:
                        raise
                reason = _reason(refused)
            if self._clock.seconds() >= word:
                word = self._clock.seconds() + WORD_SECONDS
                waiting = len(batch.rows) + self._queue.rows
                self.log.warn("{count} messages wait: {reason}", count=waiting, reason=reason)
            await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _refused(self, commit: Commit, batch: Batch, error: Exception) -> None:
        """Halve a batch, or give up on the one sender whose it is."""
        if len(batch.appends) > 1:
            commit.pending.extendleft(reversed(batch.halves()))
            return
        if isinstance(error, Overloaded):
            self._count_refusal(SLOW)
        else:
            self.log.warn("A message was refused by the database: {error}", error=type(error).__name__)
            self._metrics.happy_commit_refused_total.inc()
        commit.refused.append((batch.appends[0], error))

    async def _expire(self) -> None:
        """Tell senders that wait too long so; what they sent stays queued."""
        before = self._clock.seconds() - ANSWER_SECONDS
        under_way = [append for commit in self._commits for append in commit.appends]
        for append in [*under_way, *self._queue]:
            if append.since <= before:
                append.fail(DatabaseDown("the message could not be committed in time"))


def _reason(refused: QueryFailed) -> str:
    if isinstance(refused, ConnectionLost):
        return "the database does not answer"
    return _REASONS.get(refused.sqlstate or "", f"state {refused.sqlstate}")


def _unsettled(failure: Failure) -> NoReturn:
    failure.trap(TimeoutError)
    raise Overloaded("messages under way take too long") from None
