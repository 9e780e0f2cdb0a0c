"""Heartbeats of a kind on a table in memory, with whatever may become of a statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from happy.base.errors import ConnectionLost, DatabaseDown, Overloaded, QueryFailed
from happy.metrics import Metrics
from happy.realtime.heartbeats import ANSWER_SECONDS, Pulse
from happy.storage.presence import PresenceRow

DATA = QueryFailed("22008")
MOMENT: tuple[Callable[[], Exception], ...] = (
    lambda: DatabaseDown("no connection"),
    Overloaded,
    lambda: ConnectionLost(None),
    lambda: QueryFailed("57014"),
    lambda: QueryFailed("40P01"),
)


class Table:
    """Rows, and what becomes of statements: this is the database, and the storage functions of a kind.

    ``held`` rows are left out by a flush. A flush of a ``poisoned`` row is refused for its data, one of a
    ``cursed`` row fails as if for the moment. ``trouble`` makes every statement fail; ``silent`` leaves them
    without an answer, ``lossy`` too, but after they took effect.
    """

    def __init__(self) -> None:
        self.rows: dict[str, PresenceRow] = {}
        self.held: set[str] = set()
        self.poisoned: set[str] = set()
        self.cursed: set[str] = set()
        self.trouble: Callable[[], Exception] | None = None
        self.silent = self.lossy = False
        self.unanswered: list[Deferred[Any]] = []
        self.statements: list[list[str]] = []

    async def read(self, work: Any) -> Any:
        return await work(None)

    transact = read

    async def _pass(self) -> None:
        if self.trouble is not None:
            raise self.trouble()
        if self.silent:
            self.unanswered.append(Deferred())
            await self.unanswered[-1]

    async def find(self, tx: Any, ids: Sequence[str]) -> list[PresenceRow]:
        await self._pass()
        return [self.rows[id] for id in ids if id in self.rows]

    async def flush(self, tx: Any, beats: Sequence[tuple[str, int]]) -> set[str]:
        subjects = [subject for subject, _ in beats]
        self.statements.append(subjects)
        await self._pass()
        if self.cursed.intersection(subjects):
            raise QueryFailed("57014")
        if self.poisoned.intersection(subjects):
            raise DATA
        written = {subject for subject in subjects if subject in self.rows and subject not in self.held}
        for subject, at in beats:
            if subject in written:
                row = self.rows[subject]
                last = max(row.last_active_at, at)
                self.rows[subject] = row._replace(last_active_at=last, active=True)
        if self.lossy:
            self.unanswered.append(Deferred())
            await self.unanswered[-1]
        return written

    async def sweep(self, tx: Any, before: int, limit: int) -> list[Any]:
        await self._pass()
        return []


class World:
    """A kind on a table, and a clock."""

    def __init__(self) -> None:
        self.table = Table()
        self.clock = Clock()
        self.metrics = Metrics(CollectorRegistry())
        table: Any = self.table
        self.kind = Pulse(
            "session",
            table,
            self.metrics,
            self.clock,
            rows=table.find,
            flush=table.flush,
            sweep=table.sweep,
        )

    def add(self, *subjects: str, account: str = "account") -> None:
        """New rows, inactive, so that every heartbeat is worth storing."""
        for subject in subjects:
            self.table.rows[subject] = PresenceRow(subject, account, 0, False)

    def beat(self, subject: str, at: int) -> bool:
        """A heartbeat; whether there is a row."""
        beats: list[bool] = []

        async def come() -> None:
            kind = self.kind
            entry = kind.cached("account", subject) or await kind.look_up("account", subject)
            if entry is not None:
                kind.queue(subject, entry, at)
            beats.append(entry is not None)

        Deferred.fromCoroutine(come())
        return beats == [True]

    def flush(self) -> None:
        """One flush, which ends when its statements do or when they take too long."""
        flushing = Deferred.fromCoroutine(self.kind.flush())
        if not flushing.called:
            self.clock.advance(ANSWER_SECONDS)
        assert flushing.called

    def stored(self) -> set[tuple[str, int]]:
        return {(row.id, row.last_active_at) for row in self.table.rows.values() if row.active}

    @property
    def refused(self) -> float | None:
        labels = {"type": "session"}
        return self.metrics.registry.get_sample_value("happy_heartbeats_refused_total", labels)
