"""What is known of live sessions or machines: the cache behind heartbeats, and their storage.

Sources: realtime.md B.8, D-12, D-23. Times of heartbeats (``at``) are epoch milliseconds; how long something
is valid is measured in seconds on a clock that never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.caches import OwnedCache
from happy.base.errors import ConnectionLost, DatabaseDown, Overloaded, QueryFailed
from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.base.waiting import relayed, within
from happy.realtime.lookups import LOOKUP_BATCH, Lookups
from happy.storage.presence import PresenceRow, SweptRow

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.metrics import Metrics
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

T = TypeVar("T")

VALID_SECONDS: Final = 30.0
SIGNAL_SECONDS: Final = 10.0
PERSIST_AFTER_MS: Final = 30_000
SWEEP_BATCH: Final = 1_000
FLUSH_BATCH: Final = 1_000

MAX_ENTRIES: Final = 100_000
MAX_ACCOUNT_ENTRIES: Final = 10_000
"""Sessions or machines of one account that are known at a time. For a further one the oldest is forgotten."""
MAX_MISSES: Final = 3
"""Flushes that may leave out a heartbeat, its row being held, before it is asked whether there is a row."""
MAX_UNANSWERED: Final = 10
"""Writes without an answer that are remembered."""
ANSWER_SECONDS: Final = 20.0
"""Seconds after which the answer of the database is not waited for any more; its own patience is shorter."""

_ABOUT_THE_DATA = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE that blame what was to be stored."""


class Heard:
    """What is known of one session or machine. ``pending`` is a heartbeat not yet stored.

    ``company`` is how many may be stored together with it, itself included: fewer after each failure that may
    be for one of them, which stands alone before long.
    """

    __slots__ = (
        "account",
        "active",
        "company",
        "misses",
        "pending",
        "persisted",
        "signalled",
        "thinking",
        "valid_until",
    )

    def __init__(self, row: PresenceRow, now: float) -> None:
        self.account = row.account
        self.active = row.active
        self.persisted = row.last_active_at
        self.pending: int | None = None
        self.misses = 0
        self.company = FLUSH_BATCH
        self.thinking = False
        self.signalled: float | None = None
        self.valid_until = now + VALID_SECONDS

    def refresh(self, row: PresenceRow, now: float) -> None:
        """Take over what the row says now."""
        self.account = row.account
        self.active = row.active
        self.persisted = max(self.persisted, row.last_active_at)
        self.valid_until = now + VALID_SECONDS

    def queue(self, at: int) -> bool:
        """Remember a heartbeat worth storing; False when the stored one is recent enough."""
        if self.active and at - self.persisted <= PERSIST_AFTER_MS:
            return False
        self.pending = max(at, self.pending or 0)
        return True

    def stored(self, at: int) -> None:
        """The row has this heartbeat; one that came meanwhile stays pending."""
        self.active = True
        self.misses = 0
        self.company = FLUSH_BATCH
        self.persisted = max(self.persisted, at)
        if self.pending is not None and self.pending <= at:
            self.pending = None

    def worth_signalling(self, now: float, thinking: bool) -> bool:
        """Flags that changed are news at once; an unchanged one every ten seconds (D-23)."""
        news = self.signalled is None or thinking != self.thinking or now - self.signalled >= SIGNAL_SECONDS
        if news:
            self.signalled, self.thinking = now, thinking
        return news


class _Beat(NamedTuple):
    """A pending heartbeat on its way into the database."""

    subject: str
    entry: Heard
    at: int


class _Write:
    """A statement under way. ``over`` fires when the database has answered, however late."""

    def __init__(self, beats: Sequence[_Beat]) -> None:
        self.subjects = frozenset(beat.subject for beat in beats)
        self.over: Deferred[None] = Deferred()


class Pulse:
    """The presence of all sessions, or of all machines.

    ``rows``, ``flush`` and ``sweep`` are the storage functions of the kind. ``pending`` are the subjects of
    ``entries`` with a heartbeat that is not stored, in the order in which they are to be.
    """

    log = Logger()

    def __init__(
        self,
        label: str,
        database: Database,
        metrics: Metrics,
        clock: IReactorTime,
        *,
        rows: Callable[[Transaction, Sequence[str]], Awaitable[list[PresenceRow]]],
        flush: Callable[[Transaction, Sequence[tuple[str, int]]], Awaitable[set[str]]],
        sweep: Callable[[Transaction, int, int], Awaitable[list[SweptRow]]],
    ) -> None:
        self.label = label
        self._database = database
        validations = metrics.session_cache_operations_total
        self._hits = validations.labels(f"{label}_validation", "hit")
        self._misses = validations.labels(f"{label}_validation", "miss")
        self._refused = metrics.happy_heartbeats_refused_total.labels(label)
        self._skipped = metrics.database_updates_skipped_total.labels(label)
        self._clock = clock
        self._rows = rows
        self._flush_rows = flush
        self._sweep_rows = sweep
        self.entries: OwnedCache[str, Heard] = OwnedCache(MAX_ENTRIES, MAX_ACCOUNT_ENTRIES, self._lost)
        self.pending: dict[str, None] = {}
        self._writes: deque[_Write] = deque(maxlen=MAX_UNANSWERED)
        self._lookups = Lookups(self._fetch, self.entries.get, self._refused.inc)
        self._validating = Trouble(self.log, f"validating heartbeats of a {label}", clock)
        self._storing = Trouble(self.log, f"storing heartbeats of a {label}", clock)
        self._refusing = Trouble(self.log, f"storing one heartbeat of a {label}", clock)
        self._sweeping = Trouble(self.log, f"sweeping each inactive {label}", clock)

    # -- validation ----------------------------------------------------------------------------

    def cached(self, account: str, subject: str) -> Heard | None:
        """The entry, if it is the account's and was looked up a short time ago."""
        entry = self.entries.get(subject)
        fresh = entry is not None and entry.account == account and self._clock.seconds() < entry.valid_until
        (self._hits if fresh else self._misses).inc()
        return entry if fresh else None

    def look_up(self, account: str, subject: str) -> Deferred[Heard | None]:
        """The entry as the database has it now, whoever's it is; None when there is no such row.

        While the database cannot be asked, or too many heartbeats wait for it, or too many of the account,
        what was known before has to do.
        """
        return self._lookups.ask(account, subject)

    async def _fetch(self, subjects: Sequence[str]) -> Mapping[str, Heard] | None:
        """Entries of the subjects that exist; None when the database cannot be asked."""
        try:
            rows = await self._ask(self._database.read(lambda tx: self._rows(tx, subjects)))
            now = self._clock.seconds()
            found = {row.id: self._remember(row, now) for row in rows}
        except Exception as error:
            self._validating.again(describe_fault(error))
            return None
        self._validating.over()
        return found

    def _ask(self, query: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        return within(ANSWER_SECONDS, Deferred.fromCoroutine(query), self._clock)

    def _remember(self, row: PresenceRow, now: float) -> Heard:
        entry = self.entries.get(row.id)
        if entry is None or entry.account != row.account:
            entry = Heard(row, now)
            self.forget(row.id)
            self.entries.put(row.account, row.id, entry)
        else:
            entry.refresh(row, now)
        return entry

    def forget(self, subject: str) -> None:
        """Nothing is known of it any more, and nothing of it is to be stored."""
        self.entries.pop(subject)
        self.pending.pop(subject, None)

    def _lost(self, subject: str, entry: Heard) -> None:
        """There was no place for it any more; its next heartbeat finds it again."""
        if subject in self.pending:
            del self.pending[subject]
            self._refused.inc()

    def tidy(self) -> None:
        """Drop entries that nobody refreshed for a while."""
        horizon = self._clock.seconds() - VALID_SECONDS
        for subject in [s for s, e in self.entries.items() if e.valid_until < horizon and e.pending is None]:
            self.entries.pop(subject)

    # -- storage -------------------------------------------------------------------------------

    def queue(self, subject: str, entry: Heard, at: int) -> None:
        """Take a heartbeat of what is known as ``entry``, to store it with the others."""
        if self.entries.get(subject) is not entry:  # it was forgotten while this heartbeat was validated
            return
        if entry.queue(at):
            self.pending[subject] = None
        else:
            self._skipped.inc()

    def writes_of(self, subject: str) -> list[Deferred[None]]:
        """For each write under way that holds the subject, a Deferred that fires when it is over."""
        return [relayed(write.over) for write in self._writes if subject in write.subjects]

    async def flush(self) -> None:
        """Store pending heartbeats; a failure is logged, and they stay pending."""
        try:
            await self._give_up_the_dead()
            waiting = deque(self.pending)
            while waiting:
                await self._store(self._beats(self._batch(waiting)))
        except Exception as error:
            self._storing.again(describe_fault(error))
        else:
            self._storing.over()

    def _batch(self, waiting: deque[str]) -> list[str]:
        """Take those that come first and may be stored together."""
        batch: list[str] = []
        most = FLUSH_BATCH
        while waiting:
            entry = self.entries.get(waiting[0])
            if entry is not None:
                most = min(most, entry.company)
                if batch and len(batch) >= most:
                    break
            batch.append(waiting.popleft())
        return batch

    def _beats(self, subjects: Sequence[str]) -> list[_Beat]:
        entries = ((subject, self.entries.get(subject)) for subject in sorted(subjects))
        return [
            _Beat(subject, entry, entry.pending)
            for subject, entry in entries
            if entry is not None and entry.pending is not None
        ]

    async def _store(self, beats: Sequence[_Beat]) -> None:
        """Store what can be. Raises what keeps everything from being stored at the moment."""
        if not beats:
            return
        try:
            written = await self._write(beats)
        except Exception as error:
            if not _is_about_the_data(error):
                self._put_off(beats, apart=not _is_about_the_moment(error))
                raise
            await self._refuse(beats, error)
            return
        for beat in beats:
            self._settle(beat, beat.subject in written)

    async def _write(self, beats: Sequence[_Beat]) -> set[str]:
        """The ids that were written. Raises TimeoutError when that is not known in time."""
        write, answer = _Write(beats), Deferred[set[str]]()
        rows = [(beat.subject, beat.at) for beat in beats]
        self._writes.append(write)

        def over(outcome: set[str] | Failure) -> None:
            if write in self._writes:
                self._writes.remove(write)
            if not answer.called:
                answer.callback(outcome)
            write.over.callback(None)

        writing = self._database.transact(lambda tx: self._flush_rows(tx, rows))
        Deferred.fromCoroutine(writing).addBoth(over)
        return await within(ANSWER_SECONDS, answer, self._clock)

    def _put_off(self, beats: Sequence[_Beat], *, apart: bool) -> None:
        """Let the others go first the next time, and those ``apart``, should one of them be what fails."""
        for beat in beats:
            if apart:
                beat.entry.company = max(1, len(beats) // 2)
            if beat.subject in self.pending:
                del self.pending[beat.subject]
                self.pending[beat.subject] = None

    async def _refuse(self, beats: Sequence[_Beat], error: Exception) -> None:
        """One of them cannot be stored: halve until it stands alone; it is dropped after a few times."""
        if len(beats) > 1:
            middle = len(beats) // 2
            await self._store(beats[:middle])
            await self._store(beats[middle:])
            return
        [beat] = beats
        self._settle(beat, written=False)
        if beat.entry.misses > MAX_MISSES:
            self._refused.inc()
            self._refusing.again(describe_fault(error))
            self._drop(beat)

    def _settle(self, beat: _Beat, written: bool) -> None:
        if self.entries.get(beat.subject) is not beat.entry:
            return
        if not written:
            beat.entry.misses += 1
            return
        beat.entry.stored(beat.at)
        if beat.entry.pending is None:
            self.pending.pop(beat.subject, None)

    async def _give_up_the_dead(self) -> None:
        """Forget what was left out again and again because its row is gone, and not because it was held."""
        missed = [beat for beat in self._beats(list(self.pending)) if beat.entry.misses > MAX_MISSES]
        for start in range(0, len(missed), LOOKUP_BATCH):
            batch = missed[start : start + LOOKUP_BATCH]
            found = await self._fetch([beat.subject for beat in batch])
            for beat in batch:
                beat.entry.misses = 0
                if found is not None and beat.subject not in found:
                    self._drop(beat)

    def _drop(self, beat: _Beat) -> None:
        if self.entries.get(beat.subject) is beat.entry:
            self.forget(beat.subject)

    async def sweep(self, before: int) -> list[SweptRow]:
        """One pass over rows with no heartbeat after ``before`` (ms); returns those it marked inactive.

        A failure is logged.
        """
        query = self._database.transact(lambda tx: self._sweep_rows(tx, before, SWEEP_BATCH))
        try:
            swept = await self._ask(query)
        except Exception as error:
            self._sweeping.again(describe_fault(error))
            return []
        self._sweeping.over()
        for row in swept:
            if (entry := self.entries.get(row.id)) is not None:
                entry.active = False
        return swept


def _is_about_the_data(error: Exception) -> bool:
    """Whether a write failed for what was to be stored, rather than for the moment."""
    if isinstance(error, QueryFailed):
        about_the_data = (error.sqlstate or "")[:2] in _ABOUT_THE_DATA
        return about_the_data and not isinstance(error, ConnectionLost)
    return not isinstance(error, DatabaseDown | Overloaded | TimeoutError | CancelledError)


def _is_about_the_moment(error: Exception) -> bool:
    """Whether it failed whatever was to be stored."""
    return isinstance(error, ConnectionLost | DatabaseDown | Overloaded)
