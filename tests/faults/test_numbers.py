"""Account and message numbers while what stores them is killed."""

from __future__ import annotations

import pytest

from tests.faults.ledgers import Body, Ear, Ledger, Message, Place, Sent, Stored, Update
from tests.faults.numbers import Plan, perform

PLAN = Plan(accounts=5, postgres=2, backends=0, servers=1, pause=0.3)


def test_every_number_is_what_was_told() -> None:
    """Nothing is lost, given twice, out of order, falling or unstored, on any socket and in the database."""
    outcome = perform(PLAN, lambda line: None)
    assert outcome.faults == {}, outcome.examples
    assert outcome.kills == {"postgres": 2, "server": 1}
    assert outcome.announced > outcome.confirmed > 100


def update(seq: int, local: str, number: int) -> Update:
    """An update about a message."""
    return Update(seq, Body("new-message", "s", Message(f"id-{local}", number, local)))


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((1, 2, 3), {}),
        ((1, 3), {"lost": 1}),
        ((2, 1), {"falling": 1}),
        ((1, 1), {"falling": 1, "duplicated": 1}),
    ],
)
def test_numbers_on_a_socket(numbers: tuple[int, ...], found: dict[str, int]) -> None:
    """A gap, a fall and a repeated number are seen."""
    ledger = Ledger("a")
    ear = Ear(ledger, whole=True)
    for place, number in enumerate(numbers, 1):
        ear.hear(update(number, f"m{place}", place))
    assert ledger.faults == found


def test_what_is_stored() -> None:
    """What was confirmed, announced or sent in order must be stored so."""
    ledger = Ledger("a")
    ledger.confirmed[Place("s", "gone")] = Stored(9, "id-gone")
    ledger.posted.append([Place("s", "m2"), Place("s", "m1")])
    sent = Sent()
    sent.places, sent.lived = [Place("s", "never")], True
    ledger.sent.append(sent)
    ledger.announce(1, Place("s", "m1"), Stored(1, "other"))
    ledger.announce(2, Place("s", "m1"), Stored(1, "other"))
    stored = [Message("id-m1", 1, "m1"), Message("id-m2", 2, "m2"), Message("id-m2", 4, "m2")]
    ledger.settle({"s": stored})
    # A gap, one that never came; told twice, stored twice; confirmed and announced twice otherwise.
    assert ledger.faults == {"lost": 2, "duplicated": 2, "reordered": 1, "unstored": 3}


def test_numbers_in_the_database() -> None:
    """A number that falls there, or that nobody was told of, is seen."""
    ledger = Ledger("a")
    for number in (3, 5, 4):
        ledger.in_database(number)
    ledger.settle({})
    assert ledger.faults == {"falling": 1, "lost": 1}
