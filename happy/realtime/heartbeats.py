"""What is known of live sessions or machines: the cache behind heartbeats, and their storage.

Sources: realtime.md B.8, D-12, D-23. Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.storage.presence import PresenceRow, SweptRow

if TYPE_CHECKING:
    from happy.metrics import Metrics
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

VALID_MS = 30_000
PERSIST_AFTER_MS = 30_000
INACTIVE_AFTER_MS = 600_000
SIGNAL_EVERY_MS = 10_000
SWEEP_BATCH = 1_000
LOOKUP_BATCH = 1_000
MAX_WAITING = 20_000
"""Heartbeats that may wait to be validated; for further ones what was known before has to do."""
MAX_MISSES = 3


class Entry:
    """What is known of one session or machine. ``pending`` is a heartbeat not yet stored."""

    __slots__ = (
        "account",
        "active",
        "misses",
        "pending",
        "persisted",
        "signalled",
        "thinking",
        "valid_until",
    )

    def __init__(self, row: PresenceRow, now: int) -> None:
        self.account = row.account
        self.active = row.active
        self.persisted = row.last_active_at
        self.pending: int | None = None
        self.misses = 0
        self.thinking = False
        self.signalled: int | None = None
        self.valid_until = now + VALID_MS

    def refresh(self, row: PresenceRow, now: int) -> None:
        self.account = row.account
        self.active = row.active
        self.persisted = max(self.persisted, row.last_active_at)
        self.valid_until = now + VALID_MS

    def queue(self, at: int) -> bool:
        """Remember a heartbeat worth storing; False when the stored one is recent enough."""
        if self.active and at - self.persisted <= PERSIST_AFTER_MS:
            return False
        self.pending = max(at, self.pending or 0)
        return True

    def worth_signalling(self, now: int, thinking: bool) -> bool:
        """Flags that changed are news at once; an unchanged one every ten seconds (D-23)."""
        news = self.signalled is None or thinking != self.thinking or now - self.signalled >= SIGNAL_EVERY_MS
        if news:
            self.signalled, self.thinking = now, thinking
        return news


class Kind:
    """The presence of all sessions, or of all machines.

    ``rows``, ``flush`` and ``sweep`` are the storage functions of the kind, ``now`` is the clock.
    """

    log = Logger()

    def __init__(
        self,
        label: str,
        database: Database,
        metrics: Metrics,
        now: Callable[[], int],
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
        self._now = now
        self._rows = rows
        self._flush_rows = flush
        self._sweep_rows = sweep
        self.entries: dict[str, Entry] = {}
        self.pending: set[str] = set()
        self._lookups: dict[str, list[Deferred[Entry | None]]] = {}
        self._waiting = 0
        self._looking_up = False

    def cached(self, account: str, subject: str) -> Entry | None:
        entry = self.entries.get(subject)
        fresh = entry is not None and entry.account == account and self._now() < entry.valid_until
        (self._hits if fresh else self._misses).inc()
        return entry if fresh else None

    def look_up(self, subject: str) -> Deferred[Entry | None]:
        """The entry as the database has it now; None when there is no such row.

        While the database cannot be asked, or too many wait for it, what was known before has to do.
        """
        found: Deferred[Entry | None] = Deferred()
        if "\0" in subject:  # no row has such an id, and PostgreSQL would refuse the others' with it
            found.callback(None)
            return found
        if self._waiting >= MAX_WAITING:
            self._refused.inc()
            found.callback(self.entries.get(subject))
            return found
        self._waiting += 1
        self._lookups.setdefault(subject, []).append(found)
        if not self._looking_up:
            self._looking_up = True
            Deferred.fromCoroutine(self._run_lookups())
        return found

    async def _run_lookups(self) -> None:
        try:
            while self._lookups:
                batch = list(self._lookups)[:LOOKUP_BATCH]
                waiting = {subject: self._lookups.pop(subject) for subject in batch}
                found = await self._fetch(batch)
                if found is not None:
                    self._answer(waiting, found)
                    continue
                self._answer(waiting, self.entries)
                # Those who came meanwhile have waited too, and could hardly be told more.
                waiting, self._lookups = self._lookups, {}
                self._answer(waiting, self.entries)
        finally:
            self._looking_up = False

    def _answer(
        self, waiting: Mapping[str, list[Deferred[Entry | None]]], found: Mapping[str, Entry]
    ) -> None:
        for subject, waiters in waiting.items():
            self._waiting -= len(waiters)
            for waiter in waiters:
                waiter.callback(found.get(subject))

    async def _fetch(self, subjects: Sequence[str]) -> dict[str, Entry] | None:
        """Entries of the subjects that exist; None when the database cannot be asked."""
        try:
            rows = await self._database.read(lambda tx: self._rows(tx, subjects))
        except Exception as error:
            self.log.error(
                "Could not validate {count} {label} heartbeats: {error}",
                count=len(subjects),
                label=self.label,
                error=type(error).__name__,
            )
            return None
        now = self._now()
        return {row.id: self._remember(row, now) for row in rows}

    def _remember(self, row: PresenceRow, now: int) -> Entry:
        entry = self.entries.get(row.id)
        if entry is None:
            entry = self.entries[row.id] = Entry(row, now)
        else:
            entry.refresh(row, now)
        return entry

    def queue(self, subject: str, entry: Entry, at: int) -> None:
        if entry.queue(at):
            self.pending.add(subject)
        else:
            self._skipped.inc()

    def forget(self, subject: str) -> None:
        self.entries.pop(subject, None)
        self.pending.discard(subject)

    async def flush(self) -> None:
        """Store pending heartbeats; those that could not be written stay pending."""
        beats = [
            (subject, entry.pending)
            for subject in sorted(self.pending)
            if (entry := self.entries.get(subject)) is not None and entry.pending is not None
        ]
        self.pending.clear()
        for start in range(0, len(beats), LOOKUP_BATCH):
            await self._store(beats[start : start + LOOKUP_BATCH])

    async def _store(self, beats: list[tuple[str, int]]) -> None:
        try:
            written = await self._database.transact(lambda tx: self._flush_rows(tx, beats))
        except BaseException:
            self.pending.update(subject for subject, _ in beats if subject in self.entries)
            raise
        for subject, at in beats:
            if (entry := self.entries.get(subject)) is not None:
                self._settle(subject, entry, at, subject in written)

    def _settle(self, subject: str, entry: Entry, at: int, written: bool) -> None:
        if written:
            entry.active = True
            entry.misses = 0
            entry.persisted = max(entry.persisted, at)
            entry.pending = entry.pending if entry.pending is not None and entry.pending > at else None
        elif entry.misses < MAX_MISSES:
            # Another writer held the row; the next flush tries again.
            entry.misses += 1
        else:
            self.forget(subject)
            return
        if entry.pending is not None:
            self.pending.add(subject)

    async def sweep(self) -> list[SweptRow]:
        """One pass over rows whose heartbeats stopped; returns those it marked inactive."""
        before = self._now() - INACTIVE_AFTER_MS
        swept = await self._database.transact(lambda tx: self._sweep_rows(tx, before, SWEEP_BATCH))
        for row in swept:
            if (entry := self.entries.get(row.id)) is not None:
                entry.active = False
        return swept

    def tidy(self) -> None:
        """Drop entries that nobody refreshed for a while."""
        horizon = self._now() - VALID_MS
        for subject in [s for s, e in self.entries.items() if e.valid_until < horizon and e.pending is None]:
            del self.entries[subject]
