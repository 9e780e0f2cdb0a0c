"""Looking up whose heartbeats are whose, when the database is slow or away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred

from happy.errors import DatabaseDown
from happy.metrics import Metrics
from happy.realtime import heartbeats
from happy.realtime.heartbeats import LOOKUP_BATCH, VALID_MS, Kind
from happy.storage.presence import PresenceRow


class SlowDatabase:
    """Every query waits for the test; ``asked`` holds the ids of each."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.answers: list[Deferred[Any]] = []

    async def read(self, work: Any) -> Any:
        self.asked.append(await work(None))
        self.answers.append(Deferred())
        return await self.answers[-1]


class World:
    """Lookups of sessions in a slow database."""

    def __init__(self) -> None:
        self.database: Any = SlowDatabase()
        self.now = 0
        self.metrics = Metrics(CollectorRegistry())
        self.answers: dict[str, list[Any]] = {}

        async def rows(_tx: Any, ids: Sequence[str]) -> Any:
            return ids

        self.kind = Kind(
            "session",
            self.database,
            self.metrics,
            lambda: self.now,
            rows=rows,
            flush=rows,  # type: ignore[arg-type]
            sweep=rows,  # type: ignore[arg-type]
        )

    def look_up(self, subject: str) -> None:
        self.kind.look_up(subject).addCallback(self.answers.setdefault(subject, []).append)

    def found(self, *subjects: str) -> None:
        """The query under way finds these."""
        self.database.answers.pop(0).callback([PresenceRow(one, "account", 0, True) for one in subjects])

    def away(self) -> None:
        """The query under way fails."""
        self.database.answers.pop(0).errback(DatabaseDown("no connection"))


def test_gathered() -> None:
    """What comes while a query is under way is asked for together, each id once."""
    world = World()
    for subject in ("a", "b", "c", "b"):
        world.look_up(subject)
    world.found("a")
    world.found("b")
    assert world.database.asked == [["a"], ["b", "c"]]
    assert [entry.account for entry in world.answers["b"]] == ["account", "account"]
    assert world.answers["c"] == [None]


def test_queries_are_bounded() -> None:
    """However many wait, one query asks for a limited number."""
    world = World()
    for number in range(3 * LOOKUP_BATCH):
        world.look_up(str(number))
    while world.database.answers:
        world.found()
    assert max(map(len, world.database.asked)) == LOOKUP_BATCH
    assert sum(map(len, world.database.asked)) == 3 * LOOKUP_BATCH


def test_storm_of_unknown_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of waiting heartbeats further ones are answered at once, and counted."""
    monkeypatch.setattr(heartbeats, "MAX_WAITING", 5)
    world = World()
    for number in range(8):
        world.look_up(str(number))
    assert [subject for subject, answers in world.answers.items() if answers] == ["5", "6", "7"]
    refused = world.metrics.registry.get_sample_value("happy_heartbeats_refused_total", {"type": "session"})
    assert refused == 3
    world.found()
    world.found()
    world.look_up("9")
    world.found("9")
    assert world.answers["9"][0].account == "account"


def test_database_away() -> None:
    """When the database cannot be asked, everybody who waits is told at once what was known before."""
    world = World()
    world.look_up("known")
    world.found("known")
    world.now += 2 * VALID_MS
    assert world.kind.cached("account", "known") is None
    for subject in ("known", "new", "known", "other"):
        world.look_up(subject)
    world.away()
    assert [entry.account for entry in world.answers["known"]] == ["account"] * 3
    assert world.answers["new"] == world.answers["other"] == [None]
    assert world.database.answers == []
    world.look_up("new")
    world.found("new")
    assert world.answers["new"][1].account == "account"
