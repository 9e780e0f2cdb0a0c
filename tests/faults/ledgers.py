"""What one account was told, and whether it is what is stored: message numbers and account numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec

KINDS = ("lost", "duplicated", "reordered", "falling", "unstored")
"""``lost`` did not reach who was there all the time, or is not stored though its socket lived; ``duplicated``
is a message stored or a number given twice; ``reordered`` is stored behind a later one of its sender;
``falling`` are account numbers that do not rise, on a socket or in the database; ``unstored`` was confirmed
or announced, and is not stored so."""


class Place(NamedTuple):
    """A message of a session, by the id that its sender gave it."""

    session: str
    local: str


class Stored(NamedTuple):
    """What the server made of a message: its number in the session, and its id."""

    seq: int
    id: str


class Message(msgspec.Struct, gc=False, rename="camel"):
    """A message as updates and lists tell of it."""

    id: str
    seq: int
    local_id: str | None = None


class Body(msgspec.Struct, gc=False):
    """An update's body; ``message`` only for ``new-message``."""

    t: str
    sid: str | None = None
    message: Message | None = None


class Update(msgspec.Struct, gc=False):
    """An update; ``seq`` is the account's number."""

    seq: int
    body: Body


class Ledger:
    """Everything about one account. ``faults`` counts what may not happen, ``examples`` has some of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.faults = Counter[str]()
        self.examples: list[str] = []
        self.confirmed: dict[Place, Stored] = {}
        self.posted: list[list[Place]] = []
        self.sent: list[Sent] = []
        self.highest = 0
        self._announced: dict[int, tuple[Place, Stored]] = {}
        self._in_database = 0

    def fault(self, kind: str, example: str) -> None:
        """Write one down."""
        self.faults[kind] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{self._name}: {kind}, {example}")

    def announce(self, number: int, place: Place, stored: Stored) -> None:
        """Some socket was told of a message under an account number."""
        known = self._announced.setdefault(number, (place, stored))
        if known != (place, stored):
            self.fault("duplicated", f"account number {number} is {known[0].local} and {place.local}")

    def in_database(self, number: int) -> None:
        """The account's number, as the database has it now."""
        if number < self._in_database:
            self.fault("falling", f"{self._in_database} then {number} in the database")
        self._in_database = number

    @property
    def announcements(self) -> int:
        """Messages that were told."""
        return len(self._announced)

    def settle(self, sessions: Mapping[str, list[Message]]) -> None:
        """Compare with what is stored: every session's messages, in the order of the list."""
        stored = dict(self._read(sessions))
        for place, wanted in self.confirmed.items():
            if stored.get(place) != wanted:
                self.fault("unstored", f"{place.local} confirmed as {wanted}, stored as {stored.get(place)}")
        for place, told in self._announced.values():
            if stored.get(place) != told:
                self.fault("unstored", f"{place.local} announced as {told}, stored as {stored.get(place)}")
        numbers = Counter(place for place, _ in self._announced.values())
        for place, count in numbers.items():
            if count > 1:
                self.fault("duplicated", f"{place.local} announced under {count} account numbers")
        for places in self.posted:
            self._in_order(places, stored)
        for sent in self.sent:
            self._in_order(sent.places, stored)
            if sent.lived:
                for place in sent.places:
                    if place not in stored:
                        self.fault("lost", f"{place.local} was sent on a socket that lived")
        if self.highest != self._in_database:
            self.fault("lost", f"told up to account number {self.highest} of {self._in_database}")

    def _read(self, sessions: Mapping[str, list[Message]]) -> Iterable[tuple[Place, Stored]]:
        for session, messages in sessions.items():
            seen: set[str | None] = set()
            for expected, message in enumerate(messages, 1):
                if message.seq != expected:
                    self.fault("lost", f"number {message.seq} where {expected} should be")
                if message.local_id in seen:
                    self.fault("duplicated", f"{message.local_id} stored twice")
                seen.add(message.local_id)
                yield Place(session, message.local_id or ""), Stored(message.seq, message.id)

    def _in_order(self, places: Iterable[Place], stored: Mapping[Place, Stored]) -> None:
        found = [stored[place].seq for place in places if place in stored]
        for before, after in pairwise(found):
            if after <= before:
                self.fault("reordered", f"number {after} behind {before}")


class Sent:
    """What was sent on one socket, in its order; ``lived`` tells that it was never lost."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.lived = False


class Ear:
    """One connection that is told of updates; ``whole`` is one that must be told of all."""

    def __init__(self, ledger: Ledger, whole: bool) -> None:
        self._ledger = ledger
        self._whole = whole
        self._last: int | None = None

    def hear(self, update: Update) -> None:
        """Look at the next update."""
        ledger, last, number = self._ledger, self._last, update.seq
        if last is not None and number <= last:
            ledger.fault("falling", f"{last} then {number} on a socket")
        elif last is not None and self._whole and number > last + 1:
            ledger.fault("lost", f"{last} then {number} on a socket that hears all")
        self._last = number
        if self._whole:
            ledger.highest = max(ledger.highest, number)
        message = update.body.message
        if message is not None:
            place = Place(update.body.sid or "", message.local_id or "")
            ledger.announce(number, place, Stored(message.seq, message.id))
