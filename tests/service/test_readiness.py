"""Whether clients should be sent here: database, disk, draining."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import ConnectionLost
from happy.service.readiness import (
    LEAST_ROOM,
    PATIENCE,
    REFUSED_SECONDS,
    ROOM_AGAIN,
    WATCH_SECONDS,
    Readiness,
)


class Connection:
    """One that works."""

    def close(self) -> None:
        """Nothing to close."""


class Database:
    """A database that answers, or not, as a test says; it is its own connector."""

    def __init__(self) -> None:
        self.answers = True
        self.refusal = ""
        self.full_at: float | None = None
        self.pings = 0
        self.connector = self

    async def ping(self) -> None:
        self.pings += 1
        if not self.answers:
            await Deferred()

    async def open(self, patience: float) -> Connection:
        if self.refusal:
            raise ConnectionLost(None, self.refusal)
        return Connection()


async def _gone() -> int:
    raise OSError(116, "Stale")


class ReadinessTests(SynchronousTestCase):
    """What is found, and what the log says of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.database = Database()
        self.free = 10 * LEAST_ROOM
        database: Any = self.database
        self.readiness = Readiness(self.clock, database, self.room)
        self.seen = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    async def room(self) -> int:
        if self.free < 0:
            await Deferred()
        return self.free

    def asked(self, seconds: float = 2.0) -> list[str]:
        """The reasons a while later, and after as long as an answer may take."""
        self.clock.advance(seconds)
        asking = Deferred.fromCoroutine(self.readiness.reasons())
        self.clock.advance(PATIENCE)
        return self.successResultOf(asking)

    @property
    def said(self) -> list[str]:
        return [formatEvent(event) for event in self.seen]

    def test_ready(self) -> None:
        """With a database and room there is no reason, and nothing to say."""
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.said, [])

    def test_database_lost_and_back(self) -> None:
        """A database without an answer is a reason; its loss is said once, with its cause, as is its end."""
        self.database.answers, self.database.refusal = False, "Connection refused"
        self.assertEqual(self.asked(), ["database"])
        self.assertEqual(self.asked(), ["database"])
        self.database.answers = True
        self.assertEqual(self.asked(7 - 2 * PATIENCE + 5), [])
        self.assertEqual(
            self.said, ["The database is lost: Connection refused", "The database is back after 11 s"]
        )

    def test_silent_database(self) -> None:
        """One that takes connections, and does not answer, is said to do so."""
        self.database.answers = False
        self.assertEqual(self.asked(), ["database"])
        self.assertEqual(self.said, ["The database is lost: it does not answer within 3 s"])

    def test_disk_full(self) -> None:
        """Too little room is a reason until there is clearly more."""
        for free, reasons in ((LEAST_ROOM - 1, ["disk"]), (ROOM_AGAIN - 1, ["disk"]), (ROOM_AGAIN, [])):
            self.free = free
            self.assertEqual(self.asked(), reasons)
            self.assertEqual(self.readiness.free, free)
        self.assertEqual(
            self.said,
            [
                "The disk of the data folder is full: 31 MiB are left",
                "The disk of the data folder has room again",
            ],
        )

    def test_silent_disk(self) -> None:
        """A file system that does not answer, or refuses to, has no room either, and it is said why."""
        self.free = -1
        self.assertEqual(self.asked(), ["disk"])
        self.free = LEAST_ROOM * 10
        self.assertEqual(self.asked(), [])
        self.readiness._free_bytes = _gone
        self.assertEqual(self.asked(), ["disk"])
        first, _, last = self.said
        why = "The disk of the data folder counts as full: what is left cannot be measured ({})"
        self.assertEqual((first, last), (why.format("no answer within 3 s"), why.format("Stale")))

    def test_a_stop_is_no_trouble(self) -> None:
        """What is still found while the server stops is not told."""
        self.database.answers, self.free = False, -1
        looking = Deferred.fromCoroutine(self.readiness.reasons())
        self.readiness.stop()
        self.clock.advance(PATIENCE)
        self.assertEqual(self.successResultOf(looking), ["draining"])
        self.assertEqual(self.said, [])

    def test_no_room_at_the_database(self) -> None:
        """A write that PostgreSQL had no room for is a reason for a while."""
        self.database.full_at = self.clock.seconds()
        self.assertEqual(self.asked(), ["disk"])
        self.assertEqual(self.asked(REFUSED_SECONDS), [])
        self.assertIn("PostgreSQL refuses to write", self.said[0])

    def test_draining(self) -> None:
        """Being emptied is a reason, and so is a stop."""
        self.readiness.draining = True
        self.assertEqual(self.asked(), ["draining"])
        self.readiness.draining = False
        self.assertEqual(self.asked(), [])
        self.readiness.stop()
        self.assertEqual(self.readiness.known, ["draining"])

    def test_many_ask(self) -> None:
        """However many ask at the same moment, or right after, the database is asked once."""
        asking = [Deferred.fromCoroutine(self.readiness.reasons()) for _ in range(100)]
        self.assertEqual([self.successResultOf(one) for one in asking], [[]] * 100)
        self.assertEqual(self.database.pings, 1)

    def test_watched(self) -> None:
        """It is looked every few seconds, so that the log tells without anybody asking; a stop ends that."""
        self.readiness.start()
        self.clock.pump([WATCH_SECONDS] * 3)
        self.assertEqual(self.database.pings, 4)
        self.readiness.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
