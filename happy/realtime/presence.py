"""Who is alive: heartbeats validated from a cache, flushed in batches, swept when they stop.

Sources: realtime.md B.8, D-12, D-13, D-23. A heartbeat costs no query while its session or machine is
cached; queries for those that are not are gathered into one. Times are epoch milliseconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError

from happy.base.caches import OwnedCache
from happy.base.clocks import Hesitant
from happy.base.errors import DatabaseDown
from happy.base.rounds import Rounds
from happy.base.waiting import relayed, within
from happy.realtime.heartbeats import ANSWER_SECONDS, SWEEP_BATCH, Pulse
from happy.realtime.updates import Activity, EphemeralBody, MachineActivity, devices_of
from happy.storage import presence as storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from happy.base.clocks import Now
    from happy.metrics import Metrics
    from happy.realtime.broadcaster import Broadcaster
    from happy.storage.database import Database

INACTIVE_AFTER_MS = 600_000
STOP_SECONDS = 60.0
FLUSH_SECONDS = 5.0
SWEEP_SECONDS = 60.0
TIDY_SECONDS = 300.0
ROUND_PATIENCE = 300.0
MAX_STOPPED = 100_000
"""Sessions whose heartbeats are ignored for a minute; beyond, the oldest of whoever has most are not."""
MAX_ACCOUNT_STOPPED = 10_000


def _to_nobody(account: str, session: str, seconds: float) -> None:
    """There are no other nodes."""


class Presence:
    """Heartbeats, their storage, and the announcements that follow from them.

    ``now`` tells the time that heartbeats are compared with and rows are judged by; what is cached or stopped
    is so for a time on ``clock``.
    """

    tell_stop: Callable[[str, str, float], Deferred[None] | None] = staticmethod(_to_nobody)
    """Tells other nodes what they are to hear by :meth:`hear_stop`; fires when that went out, if it can."""

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        hub: Broadcaster,
        metrics: Metrics,
        now: Now = time.time,
    ) -> None:
        self._clock = clock
        self._now = now
        self._hub = hub
        self._metrics = metrics
        self._sessions = Pulse(
            "session",
            database,
            metrics,
            clock,
            rows=storage.sessions,
            flush=storage.flush_sessions,
            sweep=storage.sweep_sessions,
        )
        self._machines = Pulse(
            "machine",
            database,
            metrics,
            clock,
            rows=storage.machines,
            flush=storage.flush_machines,
            sweep=storage.sweep_machines,
        )
        self._stopped: OwnedCache[tuple[str, str], float] = OwnedCache(MAX_STOPPED, MAX_ACCOUNT_STOPPED)
        self._flushing: Deferred[None] | None = None
        self._sweeping: Deferred[None] | None = None
        # An hour ahead would else make everybody inactive who is alive.
        self._judged_by = Hesitant(clock, now, INACTIVE_AFTER_MS / 1000)
        self._rounds = [
            Rounds("storing heartbeats", self.flush, clock, seconds=FLUSH_SECONDS, patience=ROUND_PATIENCE),
            Rounds("sweeping", self.sweep, clock, seconds=SWEEP_SECONDS, patience=ROUND_PATIENCE),
            Rounds("tidying up", self._tidy, clock, seconds=TIDY_SECONDS, patience=ROUND_PATIENCE),
        ]

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self._now() * 1000)

    def accepted_time(self, time: float) -> int | None:
        """The moment a heartbeat counts for: not in the future; None when older than ten minutes.

        When our clock was put ahead, those of others may tell the right time, so that nothing is old at once.
        """
        at = min(int(time), self.now())
        return at if self.now() - at <= INACTIVE_AFTER_MS or self._horizon() <= at else None

    def _horizon(self) -> int:
        """Ten minutes ago in epoch milliseconds, by a clock that was not put ahead a short while ago."""
        return int(self._judged_by() * 1000) - INACTIVE_AFTER_MS

    def start(self) -> None:
        """Begin flushing and sweeping; the first sweep runs at once."""
        flushes, sweeps, tidying = self._rounds
        flushes.start()
        sweeps.start(at_once=True)
        tidying.start()

    def stop(self) -> Deferred[None]:
        """Stop sweeping and store every pending heartbeat once; fires when that is done."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for rounds in self._rounds:
            rounds.stop()
        if self._flushing is not None:
            await relayed(self._flushing)
        await self.flush()
        if self._sweeping is not None:
            await relayed(self._sweeping)

    # -- heartbeats ----------------------------------------------------------------------------

    async def session_alive(self, account: str, session: str, time: float, thinking: bool) -> None:
        """A session's heartbeat: queue it for storage and tell the account's devices."""
        at = self.accepted_time(time)
        if at is None or self._is_stopped(account, session):
            return
        entry = self._sessions.cached(account, session) or await self._sessions.look_up(account, session)
        if entry is None or entry.account != account or self._is_stopped(account, session):
            return
        self._sessions.queue(session, entry, at)
        if entry.worth_signalling(self._clock.seconds(), thinking):
            self._signal(account, Activity(id=session, active=True, active_at=at, thinking=thinking))

    async def machine_alive(self, account: str, machine: str, time: float) -> None:
        """A machine's heartbeat: queue it for storage and tell the account's devices."""
        at = self.accepted_time(time)
        if at is None:
            return
        entry = self._machines.cached(account, machine) or await self._machines.look_up(account, machine)
        if entry is None or entry.account != account:
            return
        self._machines.queue(machine, entry, at)
        self._signal(account, MachineActivity(id=machine, active=True, active_at=at))

    def _signal(self, account: str, body: EphemeralBody) -> None:
        self._hub.signal(devices_of(account), body)

    def forget_machine(self, machine: str) -> None:
        """A machine was deleted: its pending heartbeat goes with it."""
        self._machines.forget(machine)

    # -- the stop window -----------------------------------------------------------------------

    async def stop_session(self, account: str, session: str) -> None:
        """Drop the session's queued heartbeats and ignore further ones for a minute.

        Call once its owner is known, before writing ``active = false``: a heartbeat already on its way is
        waited for, so that it cannot revive the session afterwards. Raises DatabaseDown when that takes too
        long.
        """
        self.hear_stop(account, session, STOP_SECONDS)
        told = self.tell_stop(account, session, STOP_SECONDS)
        for over in self._sessions.writes_of(session):
            try:
                await within(ANSWER_SECONDS, over, self._clock)
            except TimeoutError:
                raise DatabaseDown("a heartbeat may yet revive the session") from None
        if told is not None:
            await told

    async def resume_session(self, account: str, session: str) -> None:
        """Lift the stop window: the session was opened again.

        Other nodes are told in any case: this one may not have heard that the session was stopped.
        """
        self._stopped.pop((account, session))
        told = self.tell_stop(account, session, 0)
        if told is not None:
            await told

    def hear_stop(self, account: str, session: str, seconds: float) -> None:
        """Ignore the session's heartbeats for so long; not any more, for 0."""
        if seconds <= 0:
            self._stopped.pop((account, session))
            return
        self._stopped.put(account, (account, session), self._clock.seconds() + min(seconds, STOP_SECONDS))
        self._sessions.forget(session)

    def stopped(self, account: str) -> dict[str, float]:
        """The sessions of an account whose heartbeats are ignored, and for how many seconds."""
        now = self._clock.seconds()
        return {session: until - now for (_, session), until in self._stopped.of(account) if until > now}

    def _is_stopped(self, account: str, session: str) -> bool:
        until = self._stopped.get((account, session))
        if until is None or self._clock.seconds() >= until:
            return False
        self._metrics.session_cache_operations_total.labels("session_validation", "stopped").inc()
        return True

    # -- rounds --------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Store what is pending; what could not be stored stays pending. Joins a flush under way."""
        if self._flushing is None:
            self._flushing = Deferred.fromCoroutine(self._flush())
            self._flushing.addBoth(self._flushed)
        if self._flushing is not None:
            await relayed(self._flushing)

    def _flushed(self, _: None) -> None:
        self._flushing = None

    async def _flush(self) -> None:
        await self._sessions.flush()
        await self._machines.flush()

    async def sweep(self) -> None:
        """Mark what stopped sending heartbeats inactive, and say so; exactly the rows changed."""
        self._sweeping = Deferred.fromCoroutine(self._sweep())
        await relayed(self._sweeping)

    async def _sweep(self) -> None:
        before = self._horizon()
        more = True
        while more:
            sessions = await self._sessions.sweep(before)
            for row in sessions:
                gone = Activity(id=row.id, active=False, active_at=row.last_active_at, thinking=False)
                self._signal(row.account, gone)
            more = len(sessions) == SWEEP_BATCH
        more = True
        while more:
            machines = await self._machines.sweep(before)
            for row in machines:
                self._signal(
                    row.account, MachineActivity(id=row.id, active=False, active_at=row.last_active_at)
                )
            more = len(machines) == SWEEP_BATCH

    async def _tidy(self) -> None:
        self._sessions.tidy()
        self._machines.tidy()
        now = self._clock.seconds()
        for key in [key for key, until in self._stopped.items() if until <= now]:
            self._stopped.pop(key)
