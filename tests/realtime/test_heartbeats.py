"""Storing heartbeats, when the database is slow, away, or refuses some of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from happy.base.caches import OwnedCache
from happy.base.errors import QueryFailed
from happy.realtime import heartbeats
from happy.realtime.heartbeats import (
    FLUSH_BATCH,
    MAX_MISSES,
    MAX_UNANSWERED,
    PERSIST_AFTER_MS,
    VALID_SECONDS,
)
from tests.realtime.heartbeating import DATA, MOMENT, World


def many(count: int) -> list[str]:
    return [f"s{number:05}" for number in range(count)]


def test_in_slices() -> None:
    """However many wait, a statement stores a limited number, and all are stored."""
    world = World()
    world.add(*many(2 * FLUSH_BATCH + 1))
    for subject in many(2 * FLUSH_BATCH + 1):
        world.beat(subject, 7)
    world.flush()
    assert [len(one) for one in world.table.statements] == [FLUSH_BATCH, FLUSH_BATCH, 1]
    assert world.stored() == {(subject, 7) for subject in many(2 * FLUSH_BATCH + 1)}
    assert not world.kind.pending


@pytest.mark.parametrize("trouble", MOMENT)
def test_a_failure_forgets_nothing(trouble: Callable[[], Exception]) -> None:
    """After a failure everything is still pending, what was in the failed slice and what was not."""
    world = World()
    world.add(*many(2 * FLUSH_BATCH))
    for subject in many(2 * FLUSH_BATCH):
        world.beat(subject, 7)
    world.table.trouble = trouble
    world.flush()
    assert len(world.kind.pending) == 2 * FLUSH_BATCH
    world.table.trouble = None
    world.flush()
    assert len(world.stored()) == 2 * FLUSH_BATCH
    assert not world.kind.pending


def test_no_answer() -> None:
    """A statement without an answer is not waited for; what it holds is stored by the next flush."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    world.table.silent = True
    world.flush()
    assert world.kind.writes_of("a")
    world.table.silent = False
    world.flush()
    assert world.stored() == {("a", 7)}
    world.table.unanswered.pop().callback(None)
    assert not world.kind.writes_of("a")


def test_answers_that_never_come() -> None:
    """Of statements without an answer a limited number is remembered."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    world.table.silent = True
    for _ in range(2 * MAX_UNANSWERED):
        world.flush()
    assert len(world.kind.writes_of("a")) == MAX_UNANSWERED


def test_one_refused_for_its_data() -> None:
    """One that cannot be stored keeps no other from it, and is dropped after a few times."""
    world = World()
    world.add(*many(100))
    for subject in many(100):
        world.beat(subject, 7)
    world.table.poisoned = {"s00042"}
    for _ in range(MAX_MISSES):
        world.flush()
        assert len(world.stored()) == 99
        assert list(world.kind.pending) == ["s00042"]
    world.flush()
    assert (len(world.kind.pending), world.kind.entries.get("s00042")) == (0, None)
    assert world.refused == 1


def test_one_that_is_always_bad_luck() -> None:
    """A heartbeat with which every statement fails, whatever the reason given, costs the others time only."""
    world = World()
    world.add(*many(100))
    for subject in many(100):
        world.beat(subject, 7)
    world.table.cursed = {"s00042"}
    for _ in range(20):
        world.flush()
    assert len(world.stored()) == 99
    assert list(world.kind.pending) == ["s00042"]


def test_a_row_that_is_held() -> None:
    """A heartbeat stays pending as long as somebody holds its row, and goes with the row."""
    world = World()
    world.add("held", "gone")
    for subject in ("held", "gone"):
        world.beat(subject, 7)
    world.table.held = {"held"}
    del world.table.rows["gone"]
    for _ in range(5 * MAX_MISSES):
        world.flush()
    assert list(world.kind.pending) == ["held"]
    assert world.kind.entries.get("gone") is None
    world.table.held.clear()
    world.flush()
    assert world.stored() == {("held", 7)}


def test_too_many_are_known() -> None:
    """Of more than an account may have the oldest is forgotten, with its heartbeat, and counted."""
    world = World()
    kind = world.kind
    kind.entries = OwnedCache(4, 2, kind._lost)
    world.add("a", "b", "c")
    world.add("other", account="another")
    for subject in ("other", "a", "b", "c"):
        world.beat(subject, 7)
    assert list(kind.pending) == ["other", "b", "c"]
    assert world.refused == 1
    assert world.beat("a", 8)
    assert list(kind.pending) == ["other", "c", "a"]


def begin_to_flush(world: World) -> Deferred[None]:
    """A flush whose statement is under way."""
    world.table.silent = True
    flushing = Deferred.fromCoroutine(world.kind.flush())
    world.table.silent = False
    assert not flushing.called
    return flushing


def test_a_newer_one_comes_meanwhile() -> None:
    """A heartbeat that comes while an older one is being stored stays pending."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    begin_to_flush(world)
    world.beat("a", 8)
    world.table.unanswered.pop().callback(None)
    assert (world.stored(), list(world.kind.pending)) == ({("a", 7)}, ["a"])
    world.flush()
    assert (world.stored(), list(world.kind.pending)) == ({("a", 8)}, [])


def test_begun_again_meanwhile() -> None:
    """What is stored of a session that was stopped says nothing of the heartbeats since it goes on."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    begin_to_flush(world)
    world.kind.forget("a")
    world.beat("a", 8)
    world.table.unanswered.pop().callback(None)
    assert (world.stored(), list(world.kind.pending)) == ({("a", 7)}, ["a"])
    world.flush()
    assert (world.stored(), list(world.kind.pending)) == ({("a", 8)}, [])


def test_forgotten_meanwhile() -> None:
    """A heartbeat that was validated before its session was stopped is not queued after."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    entry = world.kind.entries.get("a")
    assert entry is not None
    world.kind.forget("a")
    world.kind.queue("a", entry, 8)
    assert not world.kind.pending


def test_entries_go_in_time() -> None:
    """What nobody beats for is forgotten, unless a heartbeat of it waits."""
    world = World()
    world.add("a", "b")
    for subject in ("a", "b"):
        world.beat(subject, 7)
    world.table.held = {"b"}
    world.flush()
    world.clock.advance(2 * VALID_SECONDS + 1)
    world.kind.tidy()
    assert [subject for subject, _ in world.kind.entries.items()] == ["b"]


def test_together_again() -> None:
    """Those of a statement that failed are stored by halves, and all together again once they were."""
    world = World()
    world.add(*many(2 * FLUSH_BATCH))
    sizes = []
    for round_ in range(4):
        for subject in many(2 * FLUSH_BATCH):
            world.beat(subject, 7 + 2 * PERSIST_AFTER_MS * round_)
        world.table.trouble = (lambda: QueryFailed("57014")) if round_ < 2 else None
        world.table.statements.clear()
        world.flush()
        sizes.append([len(one) for one in world.table.statements])
    assert sizes[2:] == [[FLUSH_BATCH // 2] * 4, [FLUSH_BATCH] * 2]


@pytest.mark.parametrize("trouble", [*MOMENT, CancelledError, TimeoutError])
def test_of_the_moment(trouble: Callable[[], Exception]) -> None:
    """Trouble that has nothing to do with what is stored is the moment's."""
    assert not heartbeats._is_about_the_data(trouble())


@pytest.mark.parametrize("trouble", [DATA, ValueError("a NUL")])
def test_of_the_data(trouble: Exception) -> None:
    """What is refused for itself would be refused again."""
    assert heartbeats._is_about_the_data(trouble)


def test_known_for_a_while() -> None:
    """A row that was looked up is not looked up again at once, but it is later."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    assert world.kind.cached("account", "a") is not None
    world.clock.advance(VALID_SECONDS)
    assert world.kind.cached("account", "a") is None


def test_stored_a_short_while_ago() -> None:
    """What is stored makes a row active, so that the next heartbeat need not be stored at once."""
    world = World()
    world.add("a")
    world.beat("a", 7)
    world.flush()
    world.beat("a", 8)
    assert not world.kind.pending
