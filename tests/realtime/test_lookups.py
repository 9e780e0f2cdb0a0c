"""Looking up whose heartbeats are whose, when the database is slow or away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from happy.realtime import lookups
from happy.realtime.lookups import ACCOUNT_SHARE, LONGEST_ID, LOOKUP_BATCH, Lookups


class World:
    """Every query waits for the test; ``asked`` holds the ids of each, ``answers`` what came of each id."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.known: dict[str, str] = {}
        self.answers: dict[str, list[Any]] = {}
        self.refused = 0
        self._queries: list[Deferred[Mapping[str, str] | None]] = []
        self.lookups = Lookups(self._fetch, self.known.get, self._refuse)

    async def _fetch(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        self.asked.append(ids)
        self._queries.append(Deferred())
        return await self._queries[-1]

    def _refuse(self) -> None:
        self.refused += 1

    def ask(self, id: str, account: str = "account") -> None:
        self.lookups.ask(account, id).addCallback(self.answers.setdefault(id, []).append)

    def found(self, *ids: str) -> None:
        """The query under way finds these."""
        self._queries.pop(0).callback({id: f"row {id}" for id in ids})

    def away(self) -> None:
        """The query under way fails."""
        self._queries.pop(0).callback(None)

    @property
    def waits(self) -> bool:
        return bool(self._queries)


def test_gathered() -> None:
    """What comes while a query is under way is asked for together, each id once."""
    world = World()
    for id in ("a", "b", "c", "b", "a"):
        world.ask(id)
    world.found("a")
    assert world.answers["a"] == ["row a"]
    world.found("a", "b")
    assert world.asked == [["a"], ["b", "c", "a"]]
    assert world.answers == {"a": ["row a", "row a"], "b": ["row b", "row b"], "c": [None]}
    assert (world.lookups._waiting, world.lookups._waiting_of) == (0, {})


def test_queries_are_bounded() -> None:
    """However many wait, one query asks for a limited number."""
    world = World()
    for number in range(2 * LOOKUP_BATCH):
        world.ask(str(number))
    while world.waits:
        world.found()
    assert max(map(len, world.asked)) == LOOKUP_BATCH
    assert sum(map(len, world.asked)) == 2 * LOOKUP_BATCH


def test_storm_of_unknown_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond an account's share, and beyond all places, the rest is answered at once, and counted."""
    monkeypatch.setattr(lookups, "MAX_WAITING", 2 * ACCOUNT_SHARE)
    world = World()
    world.known["known"] = "before"
    for id in ("1", "2", "3", "known"):
        world.ask(id, "storm")
    assert world.answers == {"1": [], "2": [], "3": [None], "known": ["before"]}
    for number in range(2 * ACCOUNT_SHARE - 2):
        world.ask(f"n{number}", f"account {number}")
    assert world.refused == 2
    world.ask("late", "one more")
    assert (world.refused, world.answers["late"]) == (3, [None])
    world.found("1")
    world.ask("4", "storm")
    assert (world.refused, world.answers["1"], world.answers["4"]) == (3, ["row 1"], [])


def test_ids_that_cannot_be() -> None:
    """An id that PostgreSQL cannot even be asked for, or that no row can have, is nobody's."""
    world = World()
    for id in ("\0", "x" * (LONGEST_ID + 1)):
        world.ask(id)
        assert world.answers[id] == [None]
    assert world.asked == []


def test_database_away() -> None:
    """When the database cannot be asked, everybody who waits is told at once what was known before."""
    world = World()
    world.known["known"] = "before"
    for id in ("known", "new", "known", "other"):
        world.ask(id)
    world.away()
    assert world.answers == {"known": ["before", "before"], "new": [None], "other": [None]}
    assert not world.waits
    world.ask("new")
    world.found("new")
    assert world.answers["new"] == [None, "row new"]
