"""Who is alive: heartbeats validated from a cache, flushed in batches, swept when they stop.

Sources: realtime.md B.8, D-12, D-13, D-23. A heartbeat costs no query while its session or machine is
cached; queries for those that are not are gathered into one. Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from happy.realtime.updates import Activity, EphemeralBody, MachineActivity, devices_of
from happy.storage import presence as storage
from happy.storage.presence import PresenceRow, SweptRow

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.metrics import Metrics
    from happy.realtime.hub import Hub
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

VALID_MS = 30_000
PERSIST_AFTER_MS = 30_000
STOP_WINDOW_MS = 60_000
INACTIVE_AFTER_MS = 600_000
SIGNAL_EVERY_MS = 10_000
FLUSH_SECONDS = 5.0
SWEEP_SECONDS = 60.0
TIDY_SECONDS = 300.0
SWEEP_BATCH = 1_000
LOOKUP_BATCH = 1_000
MAX_MISSES = 3


def accepted_time(time: float, now: int) -> int | None:
    """The moment a heartbeat counts for: not in the future; None when older than ten minutes."""
    at = min(int(time), now)
    return at if now - at <= INACTIVE_AFTER_MS else None


class _Entry:
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


class _Kind:
    """The presence of all sessions, or of all machines.

    ``rows``, ``flush`` and ``sweep`` are the storage functions of the kind.
    """

    def __init__(
        self,
        label: str,
        presence: Presence,
        rows: Callable[[Transaction, Sequence[str]], Awaitable[list[PresenceRow]]],
        flush: Callable[[Transaction, Sequence[tuple[str, int]]], Awaitable[set[str]]],
        sweep: Callable[[Transaction, int, int], Awaitable[list[SweptRow]]],
    ) -> None:
        self.label = label
        self.presence = presence
        self.rows = rows
        self.flush_rows = flush
        self.sweep_rows = sweep
        self.entries: dict[str, _Entry] = {}
        self.pending: set[str] = set()
        self._lookups: dict[str, list[Deferred[_Entry | None]]] = {}
        self._looking_up = False

    def cached(self, account: str, subject: str) -> _Entry | None:
        entry = self.entries.get(subject)
        fresh = entry is not None and entry.account == account and self.presence.now() < entry.valid_until
        result = "hit" if fresh else "miss"
        self.presence.metrics.session_cache_operations_total.labels(f"{self.label}_validation", result).inc()
        return entry if fresh else None

    def look_up(self, subject: str) -> Deferred[_Entry | None]:
        """The entry as the database has it now; None when there is no such row."""
        found: Deferred[_Entry | None] = Deferred()
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
                for subject, waiters in waiting.items():
                    for waiter in waiters:
                        waiter.callback(found.get(subject))
        finally:
            self._looking_up = False

    async def _fetch(self, subjects: Sequence[str]) -> dict[str, _Entry]:
        """Entries of the subjects that exist; none of them when the database cannot be asked."""
        try:
            rows = await self.presence.database.read(lambda tx: self.rows(tx, subjects))
        except Exception as error:
            self.presence.log.error(
                "Could not validate {count} {label} heartbeats: {error}",
                count=len(subjects),
                label=self.label,
                error=type(error).__name__,
            )
            return {}
        now = self.presence.now()
        return {row.id: self._remember(row, now) for row in rows}

    def _remember(self, row: PresenceRow, now: int) -> _Entry:
        entry = self.entries.get(row.id)
        if entry is None:
            entry = self.entries[row.id] = _Entry(row, now)
        else:
            entry.refresh(row, now)
        return entry

    def queue(self, subject: str, entry: _Entry, at: int) -> None:
        if entry.queue(at):
            self.pending.add(subject)
        else:
            self.presence.metrics.database_updates_skipped_total.labels(self.label).inc()

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
            written = await self.presence.database.transact(lambda tx: self.flush_rows(tx, beats))
        except BaseException:
            self.pending.update(subject for subject, _ in beats if subject in self.entries)
            raise
        for subject, at in beats:
            if (entry := self.entries.get(subject)) is not None:
                self._settle(subject, entry, at, subject in written)

    def _settle(self, subject: str, entry: _Entry, at: int, written: bool) -> None:
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
        before = self.presence.now() - INACTIVE_AFTER_MS
        swept = await self.presence.database.transact(lambda tx: self.sweep_rows(tx, before, SWEEP_BATCH))
        for row in swept:
            if (entry := self.entries.get(row.id)) is not None:
                entry.active = False
        return swept

    def tidy(self) -> None:
        """Drop entries that nobody refreshed for a while."""
        horizon = self.presence.now() - VALID_MS
        for subject in [s for s, e in self.entries.items() if e.valid_until < horizon and e.pending is None]:
            del self.entries[subject]


class Presence(Service):
    """Heartbeats, their storage, and the announcements that follow from them."""

    log = Logger()

    def __init__(self, clock: IReactorTime, database: Database, hub: Hub, metrics: Metrics) -> None:
        self._clock = clock
        self._hub = hub
        self.database = database
        self.metrics = metrics
        self.sessions = _Kind(
            "session", self, storage.sessions, storage.flush_sessions, storage.sweep_sessions
        )
        self.machines = _Kind(
            "machine", self, storage.machines, storage.flush_machines, storage.sweep_machines
        )
        self._stopped: dict[tuple[str, str], int] = {}
        self._flushing: Deferred[None] | None = None
        self._sweeping: Deferred[None] | None = None
        self._loops: list[LoopingCall] = []

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self._clock.seconds() * 1000)

    def startService(self) -> None:
        """Begin flushing and sweeping; the first sweep runs at once."""
        super().startService()
        for action, seconds, at_once in (
            (self.flush, FLUSH_SECONDS, False),
            (self.sweep, SWEEP_SECONDS, True),
            (self._tidy, TIDY_SECONDS, False),
        ):
            loop = LoopingCall(action)
            loop.clock = self._clock
            loop.start(seconds, now=at_once)
            self._loops.append(loop)

    async def _stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        self._loops.clear()
        if self._sweeping is not None:
            await _shared(self._sweeping)
        await self.flush()

    def stopService(self) -> Deferred[None]:
        """Stop sweeping and store every pending heartbeat once; fires when that is done."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    # -- heartbeats ----------------------------------------------------------------------------

    async def session_alive(self, account: str, session: str, time: float, thinking: bool) -> None:
        """A session's heartbeat: queue it for storage and tell the account's devices."""
        at = accepted_time(time, self.now())
        if at is None or self._is_stopped(account, session):
            return
        entry = self.sessions.cached(account, session) or await self.sessions.look_up(session)
        if entry is None or entry.account != account or self._is_stopped(account, session):
            return
        self.sessions.queue(session, entry, at)
        if entry.worth_signalling(self.now(), thinking):
            self._signal(account, Activity(id=session, active=True, active_at=at, thinking=thinking))

    async def machine_alive(self, account: str, machine: str, time: float) -> None:
        """A machine's heartbeat: queue it for storage and tell the account's devices."""
        at = accepted_time(time, self.now())
        if at is None:
            return
        entry = self.machines.cached(account, machine) or await self.machines.look_up(machine)
        if entry is None or entry.account != account:
            return
        self.machines.queue(machine, entry, at)
        self._signal(account, MachineActivity(id=machine, active=True, active_at=at))

    def _signal(self, account: str, body: EphemeralBody) -> None:
        self._hub.signal(devices_of(account), body)

    def forget_machine(self, machine: str) -> None:
        """A machine was deleted: its pending heartbeat goes with it."""
        self.machines.forget(machine)

    # -- the stop window -----------------------------------------------------------------------

    async def stop_session(self, account: str, session: str) -> None:
        """Drop the session's queued heartbeats and ignore further ones for a minute.

        Call once its owner is known, before writing ``active = false``: a flush already on its way is
        waited for, so that it cannot revive the session afterwards.
        """
        self._stopped[account, session] = self.now() + STOP_WINDOW_MS
        self.sessions.forget(session)
        if self._flushing is not None:
            await _shared(self._flushing)

    def resume_session(self, account: str, session: str) -> None:
        """Lift the stop window: the session was opened again."""
        self._stopped.pop((account, session), None)

    def _is_stopped(self, account: str, session: str) -> bool:
        until = self._stopped.get((account, session))
        if until is None or self.now() >= until:
            return False
        self.metrics.session_cache_operations_total.labels("session_validation", "stopped").inc()
        return True

    # -- loops ---------------------------------------------------------------------------------

    def flush(self) -> Deferred[None]:
        """Store what is pending; a failure is logged and the heartbeats stay pending."""
        if self._flushing is None:
            self._flushing = Deferred.fromCoroutine(self._flush())
            self._flushing.addBoth(self._flushed)
        return _shared(self._flushing) if self._flushing is not None else _done()

    def _flushed(self, result: None) -> None:
        self._flushing = None

    async def _flush(self) -> None:
        for kind in (self.sessions, self.machines):
            await self._guarded(kind.flush(), "store heartbeats")

    def sweep(self) -> Deferred[None]:
        """Mark what stopped sending heartbeats inactive, and say so; exactly the rows changed."""
        self._sweeping = Deferred.fromCoroutine(self._guarded(self._sweep(), "sweep inactive rows"))
        return _shared(self._sweeping)

    async def _sweep(self) -> None:
        while True:
            sessions = await self.sessions.sweep()
            for row in sessions:
                self._signal(
                    row.account,
                    Activity(id=row.id, active=False, active_at=row.last_active_at, thinking=False),
                )
            if len(sessions) < SWEEP_BATCH:
                break
        while True:
            machines = await self.machines.sweep()
            for row in machines:
                self._signal(
                    row.account, MachineActivity(id=row.id, active=False, active_at=row.last_active_at)
                )
            if len(machines) < SWEEP_BATCH:
                break

    async def _guarded(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except Exception as error:
            self.log.error("Could not {what}: {error}", what=what, error=type(error).__name__)

    def _tidy(self) -> None:
        self.sessions.tidy()
        self.machines.tidy()
        now = self.now()
        for key in [key for key, until in self._stopped.items() if until <= now]:
            del self._stopped[key]


def _shared(running: Deferred[None]) -> Deferred[None]:
    """A Deferred of one's own that fires when ``running`` does."""
    mine: Deferred[None] = Deferred()

    def relay(result: None) -> None:
        mine.callback(None)

    running.addCallback(relay)
    return mine


def _done() -> Deferred[None]:
    fired: Deferred[None] = Deferred()
    fired.callback(None)
    return fired
