"""Who is alive: heartbeats validated from a cache, flushed in batches, swept when they stop.

Sources: realtime.md B.8, D-12, D-13, D-23. A heartbeat costs no query while its session or machine is
cached; queries for those that are not are gathered into one. Times are epoch milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from happy.realtime.heartbeats import INACTIVE_AFTER_MS, SWEEP_BATCH, Kind
from happy.realtime.updates import Activity, EphemeralBody, MachineActivity, devices_of
from happy.storage import presence as storage

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.clocks import Now
    from happy.metrics import Metrics
    from happy.realtime.hub import Hub
    from happy.storage.database import Database

STOP_WINDOW_MS = 60_000
FLUSH_SECONDS = 5.0
SWEEP_SECONDS = 60.0
TIDY_SECONDS = 300.0


def accepted_time(time: float, now: int) -> int | None:
    """The moment a heartbeat counts for: not in the future; None when older than ten minutes."""
    at = min(int(time), now)
    return at if now - at <= INACTIVE_AFTER_MS else None


class Presence(Service):
    """Heartbeats, their storage, and the announcements that follow from them."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, database: Database, hub: Hub, metrics: Metrics, now: Now = time.time
    ) -> None:
        self._clock = clock
        self._now = now
        self._hub = hub
        self._metrics = metrics
        self._sessions = Kind(
            "session",
            database,
            metrics,
            self.now,
            rows=storage.sessions,
            flush=storage.flush_sessions,
            sweep=storage.sweep_sessions,
        )
        self._machines = Kind(
            "machine",
            database,
            metrics,
            self.now,
            rows=storage.machines,
            flush=storage.flush_machines,
            sweep=storage.sweep_machines,
        )
        self._stopped: dict[tuple[str, str], int] = {}
        self._flushing: Deferred[None] | None = None
        self._sweeping: Deferred[None] | None = None
        self._loops: list[LoopingCall] = []

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self._now() * 1000)

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
        entry = self._sessions.cached(account, session) or await self._sessions.look_up(session)
        if entry is None or entry.account != account or self._is_stopped(account, session):
            return
        self._sessions.queue(session, entry, at)
        if entry.worth_signalling(self.now(), thinking):
            self._signal(account, Activity(id=session, active=True, active_at=at, thinking=thinking))

    async def machine_alive(self, account: str, machine: str, time: float) -> None:
        """A machine's heartbeat: queue it for storage and tell the account's devices."""
        at = accepted_time(time, self.now())
        if at is None:
            return
        entry = self._machines.cached(account, machine) or await self._machines.look_up(machine)
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

        Call once its owner is known, before writing ``active = false``: a flush already on its way is
        waited for, so that it cannot revive the session afterwards.
        """
        self._stopped[account, session] = self.now() + STOP_WINDOW_MS
        self._sessions.forget(session)
        if self._flushing is not None:
            await _shared(self._flushing)

    def resume_session(self, account: str, session: str) -> None:
        """Lift the stop window: the session was opened again."""
        self._stopped.pop((account, session), None)

    def _is_stopped(self, account: str, session: str) -> bool:
        until = self._stopped.get((account, session))
        if until is None or self.now() >= until:
            return False
        self._metrics.session_cache_operations_total.labels("session_validation", "stopped").inc()
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
        for kind in (self._sessions, self._machines):
            await self._guarded(kind.flush(), "store heartbeats")

    def sweep(self) -> Deferred[None]:
        """Mark what stopped sending heartbeats inactive, and say so; exactly the rows changed."""
        self._sweeping = Deferred.fromCoroutine(self._guarded(self._sweep(), "sweep inactive rows"))
        return _shared(self._sweeping)

    async def _sweep(self) -> None:
        while True:
            sessions = await self._sessions.sweep()
            for row in sessions:
                self._signal(
                    row.account,
                    Activity(id=row.id, active=False, active_at=row.last_active_at, thinking=False),
                )
            if len(sessions) < SWEEP_BATCH:
                break
        while True:
            machines = await self._machines.sweep()
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
        self._sessions.tidy()
        self._machines.tidy()
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
