"""Every fault once, for a moment, under a small load; ``python -m tests.faults`` does it at length.

What is judged is what may never happen, whatever the machine; how fast it is over is the long run's matter.
"""

from __future__ import annotations

import pytest

from tests.faults.judging import Effect
from tests.faults.running import Outcome, Plan, perform

FAULTS = ("deaf", "garbage", "disk", "broken", "clock", "frozen", "postgres", "forks", "server")
SOCKETS = 30
PLAN = Plan(
    faults=FAULTS,
    scale=0.01,
    messages=40,
    sockets=SOCKETS,
    quiet=2.0,
    lasting=2.0,
    settling=2.0,
    slack=60.0,
    disk=256,
    options=("--max-queued=1000000", "--ping-interval=1", "--connect-timeout=1"),
)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """One run with all of them."""
    return perform(PLAN, lambda line: None)


def effect(outcome: Outcome, fault: str) -> Effect:
    """What a fault did; skips the test if it could not be done."""
    if fault in outcome.skipped:
        pytest.skip("this process may not mount a file system")
    return next(one for one in outcome.effects if one.fault == fault)


def test_nothing_is_lost(outcome: Outcome) -> None:
    """What was confirmed is stored, once and in order, and whoever was connected heard of it so."""
    assert outcome.run.verdict.dump() == {"lost": 0, "duplicated": 0, "reordered": 0, "unstored": 0}


def test_what_each_fault_looked_at(outcome: Outcome) -> None:
    """Each took effect, and what was looked at meanwhile was as it must be."""
    assert outcome.problems == []


@pytest.mark.parametrize("fault", FAULTS)
def test_it_goes_on(outcome: Outcome, fault: str) -> None:
    """After each fault messages are stored and calls answered again."""
    assert effect(outcome, fault).after > 0


def test_deaf_sockets(outcome: Outcome) -> None:
    """Sockets that do not read what is said to them are dropped, and nobody else notices."""
    deaf = effect(outcome, "deaf")
    assert deaf.note.startswith(f"{SOCKETS} of {SOCKETS} sockets dropped")
    assert deaf.reasons == {}


def test_garbage(outcome: Outcome) -> None:
    """Nonsense at any level of the protocol hurts nobody else, and is no error of ours."""
    assert effect(outcome, "garbage").reasons == {}
    errors = [line for line in outcome.log.splitlines() if "#error" in line or "#critical" in line]
    of_the_database = ("PostgreSQL", "The database is lost", "heartbeats")
    assert [line for line in errors if not any(words in line for words in of_the_database)] == []


def test_full_disk(outcome: Outcome) -> None:
    """While nothing can be written messages wait, and those who sent them with them."""
    full = effect(outcome, "disk")
    assert full.reasons == {}
    assert "the disk is full" in outcome.log


def test_postgres_dies(outcome: Outcome) -> None:
    """PostgreSQL is started again, and nobody is disconnected."""
    assert effect(outcome, "postgres").reasons == {}
    assert "PostgreSQL ended unexpectedly" in outcome.log


def test_the_server_dies(outcome: Outcome) -> None:
    """A server that starts again takes its clients back."""
    assert outcome.log.count("Ready after") == 2
    # In any second: on a busy machine the clients hear of it before the fault's own clock says that it began.
    reasons = [reason for second in outcome.run.seconds.values() for reason in second.errors]
    assert any(reason.startswith("socket lost") for reason in reasons), reasons
    assert sum(second.amounts["reconnections"] for second in outcome.run.seconds.values()) > 0
