"""How much PostgreSQL reads for the lists of a large account (issue: sessions and lists at scale).

Every statement is run on an account with 10,000 sessions, one of which has tens of thousands of messages:
first while the planner knows nothing of that account, as after a busy day, then with fresh statistics.
What a statement may touch is bounded by what it answers, not by what there is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from happy.storage import append, feed, github, machines, messages, presence, sessions, usage
from happy.storage.append import AppendRow
from happy.storage.messages import BEYOND_ALL
from happy.storage.types import Millis
from tests.harness import scratch_database
from tests.scale.filling import BIG, LARGEST, Size, analyse, fill_account, fill_others
from tests.scale.plans import Explaining

SIZE = Size()
DAY = 86_400_000
IDLE = 600_000


class Case(NamedTuple):
    """A statement: how many rows it may look at, and how many pages of tables and indexes."""

    work: Callable[[Any], Awaitable[Any]]
    rows: int
    pages: int


def since(age: int, limit: int, below: str | None = None) -> Callable[[Any], Awaitable[Any]]:
    """A page of the sessions changed in the last ``age`` milliseconds."""

    def work(tx: Any) -> Awaitable[Any]:
        return sessions.newest(tx, BIG, below=below, changed_since=Millis(tx.now - age), limit=limit)

    return work


def page(below: str | None) -> Callable[[Any], Awaitable[Any]]:
    """A page of sessions."""
    return partial(sessions.newest, account=BIG, below=below, changed_since=None, limit=201)


def forwards(seq: int) -> Callable[[Any], Awaitable[Any]]:
    """A page of messages above ``seq``."""
    return partial(messages.after, account=BIG, session=LARGEST, seq=seq, limit=501)


def backwards(seq: int) -> Callable[[Any], Awaitable[Any]]:
    """A page of messages below ``seq``."""
    return partial(messages.before, account=BIG, session=LARGEST, seq=seq, limit=501)


def appended(prefix: str, step: int) -> Callable[[Any], Awaitable[Any]]:
    """A batch of a hundred messages to the largest session."""
    rows = [AppendRow(BIG, LARGEST, f"{prefix} {1 + step * n}", f"new {n}", "x" * 300) for n in range(100)]
    return partial(append.append, writer="w", batch=1, rows=rows, noted=False)


async def looked_for(tx: Any) -> Any:
    """A batch that was stored, half of which was there before, and whose answer was lost."""
    rows = [
        AppendRow(BIG, LARGEST, f"{'local' if n % 2 else 'new'} {1 + n}", f"new {n}", "x") for n in range(100)
    ]
    await append.append(tx, "w", 1, rows, noted=False)
    found = await append.find_or_give_up(tx, "w", 1, rows)
    assert found is not None
    return found


def reports(days: int, session: str | None = None) -> Callable[[Any], Awaitable[Any]]:
    """Sums over the reports of the last days."""

    def work(tx: Any) -> Awaitable[Any]:
        first = Millis(tx.now - days * DAY)
        return usage.sums(tx, BIG, session, first, tx.now, span="day", zone="UTC")

    return work


def active(tx: Any) -> Awaitable[Any]:
    """The sessions with a recent sign of life."""
    return sessions.recently_active(tx, BIG, Millis(tx.now - IDLE), 150)


def named(table: Any, owner: str, id: str) -> Callable[[Any], Awaitable[Any]]:
    """A hundred rows by their ids, as a longer list is read."""
    return lambda tx: table.named(tx, owner, [id.format(n) for n in range(500, 600)])


def sliced(table: Any, **parameters: str) -> Callable[[Any], Awaitable[Any]]:
    """A slice of the first large value of a row."""
    statement = next(iter(table._TABLE.slices.values()))
    return lambda tx: tx.rows(statement, {**parameters, "version": 0, "start": 1})


def flushed(kind: str, count: int) -> Callable[[Any], Awaitable[Any]]:
    """The heartbeats of so many sessions or machines."""
    flush = presence.flush_sessions if kind == "s" else presence.flush_machines

    def work(tx: Any) -> Awaitable[Any]:
        return flush(tx, [(f"{kind}{n:06}", int(tx.now)) for n in range(1, count + 1)])

    return work


def swept(sweep: Callable[[Any, int, int], Awaitable[Any]], after: int) -> Callable[[Any], Awaitable[Any]]:
    """The inactivity sweep, ``after`` milliseconds from now."""
    return lambda tx: sweep(tx, int(tx.now) + after - IDLE, 100)


# A row of a list costs a page of the table at most, and its index some (those of messages have leftovers of
# appended rows that were rolled back); a changed row is written to each of the table's indexes, of which
# every one is three or four pages deep.
CASES = {
    "S1": Case(partial(sessions.recently_changed, account=BIG, limit=150), 151, 180),
    "S3, first page": Case(page(None), 201, 230),
    "S3, middle": Case(page("s005000"), 201, 230),
    "S3, last page": Case(page("s000201"), 201, 230),
    "S3, changed a minute ago": Case(since(60_000, 51), 51, 200),
    "S3, changed today": Case(since(DAY, 51), 51, 200),
    "S3, changed this week, middle": Case(since(7 * DAY, 51, "s005000"), 51, 200),
    "S3, changed just now": Case(since(1, 51), 51, 200),
    "S4": Case(active, 40, 60),
    "M1": Case(partial(messages.before, account=BIG, session=LARGEST, seq=BEYOND_ALL, limit=150), 150, 540),
    "M2, start": Case(forwards(0), 501, 540),
    "M2, middle": Case(forwards(SIZE.messages // 2), 501, 540),
    "M2, end": Case(forwards(SIZE.messages - 501), 501, 540),
    "M2, backwards from the end": Case(backwards(BEYOND_ALL), 501, 540),
    "M2, backwards from the middle": Case(backwards(SIZE.messages // 2), 501, 540),
    "M2, backwards to the start": Case(backwards(502), 501, 540),
    "M3, new": Case(appended("new", 1), 100, 3_000),
    "M3, repeated": Case(appended("local", 250), 100, 3_000),
    "M3, answer lost": Case(looked_for, 200, 8_000),
    "H2": Case(partial(machines.recently_active, account=BIG, limit=100), 100, 130),
    "U4, a week": Case(reports(7), 7 * 24 * 5 + 10, 200),
    "U4, one session": Case(reports(700, "s000100"), SIZE.reports, 600),
    "some sessions": Case(named(sessions, BIG, "s{:06}"), 100, 500),
    "some messages": Case(named(messages, LARGEST, "m{:09}"), 100, 500),
    "some machines": Case(named(machines, BIG, "h{:06}"), 100, 500),
    "some items": Case(named(feed, BIG, "f{:06}"), 100, 500),
    "a slice of a session": Case(sliced(sessions, account=BIG, id="s000500"), 1, 10),
    "a slice of a message": Case(sliced(messages, session=LARGEST, id="m000000500"), 1, 10),
    "N1": Case(partial(feed.page, user=BIG, limit=51), 51, 70),
    "N1, before": Case(partial(feed.page, user=BIG, below=5_000, limit=201), 201, 230),
    "N1, after": Case(partial(feed.page, user=BIG, above=5_000, limit=201), 201, 230),
    "validation": Case(partial(presence.sessions, ids=[f"s{n:06}" for n in range(1, 1001)]), 1_000, 5_000),
    "flush of a session": Case(flushed("s", 1), 1, 60),
    "flush of sessions": Case(flushed("s", 1_000), 1_000, 40_000),
    "flush of machines": Case(flushed("h", 200), 200, 8_000),
    "sweep of sessions, none idle": Case(swept(presence.sweep_sessions, 0), 1, 10),
    "sweep of sessions, all idle": Case(swept(presence.sweep_sessions, 2 * IDLE), 100, 4_000),
    "sweep of machines, none idle": Case(swept(presence.sweep_machines, 0), 1, 10),
    "sweep of machines, all idle": Case(swept(presence.sweep_machines, 2 * IDLE), 100, 4_000),
    "GitHub users": Case(partial(github.holders, user="1", username="nobody"), 2, 10),
}
"""The contract's names of endpoints, and what presence does by itself."""


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """A database whose statistics are older than most of its rows."""
    with scratch_database() as dsn:
        fill_others(dsn, SIZE)
        analyse(dsn)
        fill_account(dsn, SIZE)
        yield dsn


@pytest.fixture(scope="module", params=["old", "fresh"])
def explaining(request: pytest.FixtureRequest, dsn: str) -> Iterator[Explaining]:
    """A session as the server has it, with old statistics and then with fresh ones."""
    if request.param == "fresh":
        analyse(dsn)
    explaining = Explaining(dsn)
    yield explaining
    explaining.close()


@pytest.mark.parametrize("name", CASES)
def test_cost_is_bounded_by_the_answer(name: str, explaining: Explaining) -> None:
    """A statement looks at no more than it answers, whatever else the account has."""
    case = CASES[name]
    _, plans = explaining.plans(case.work)
    for plan in plans:
        assert not plan.scanned, plan
        assert plan.most_rows <= case.rows, plan
        assert plan.pages <= case.pages, plan


def test_lists_are_what_they_seem(explaining: Explaining) -> None:
    """The account is as large as the cases suppose, and a page holds what it should."""
    found, _ = explaining.plans(page("s005000"))
    assert [row.id for row in found.rows] == [f"s{n:06}" for n in range(4_999, 4_798, -1)]
    rows, _ = explaining.plans(forwards(SIZE.messages - 501))
    assert [row.seq for row in rows.rows] == list(range(SIZE.messages - 500, SIZE.messages + 1))
    stored, _ = explaining.plans(appended("local", 250))
    assert not any(row.new for row in stored)
