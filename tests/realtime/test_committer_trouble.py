"""The durable message path when something goes wrong: answers that are lost, databases that refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import DatabaseDown, Overloaded, QueryFailed
from happy.metrics import Metrics
from happy.realtime.committer import ANSWER_SECONDS, EXPIRY_CHECK_SECONDS, SLOW_ATTEMPTS, Committer
from happy.realtime.hub import Hub
from happy.realtime.updates import DeleteMachine, devices_of
from happy.storage.append import AppendedRow
from happy.storage.linearizer import Linearizer
from happy.storage.messages import IncomingMessage
from tests.harness import psql
from tests.realtime.clients import bodies, connect, events
from tests.realtime.committing import NUMBER, CommitterCase
from tests.storage.proxy import DROPPED, LATE, LOST, Relay

SENT_TWICE = [(1, False), (2, True), (3, True), (4, True)]


STORED_ONCE = ["before", "one of several", "two", "three", "last"]


class WritersTests(CommitterCase):
    """Messages and other changes of the same accounts, at the same time."""

    async def test_account_numbers(self) -> None:
        """Whatever path produced it, an account's number strictly increases on a socket, without a gap."""
        watcher = connect(self.account)
        self.hub.add(watcher)
        other = await self.new_session(self.account)

        def change() -> Deferred[None]:
            async def work(tx: Any) -> None:
                tx.publish(devices_of(self.account), DeleteMachine(machine_id="m"))

            return Deferred.fromCoroutine(self.database.transact(work, accounts=[self.account]))

        work: list[Deferred[Any]] = []
        for n in range(60):
            work.append(self.send((str(n), "x"), session=other if n % 2 else None))
            if n % 3 == 0:
                work.append(change())
        await gatherResults(work)
        self.assertEqual([envelope["seq"] for _, envelope in events(watcher)], list(range(1, 81)))
        for session in (self.session, other):
            self.assertEqual([row[0] for row in self.stored(session)], list(range(1, 31)))


class LostAnswerTests(CommitterCase):
    """A connection that breaks while a batch is stored: nothing is lost, told twice or numbered twice."""

    async def setUp(self) -> None:
        from twisted.internet import reactor

        await super().setUp()
        folder = dict(part.split("=") for part in self.dsn.partition("?")[2].split("&"))["host"]
        self.relay = Relay(reactor, f"{folder}/.s.PGSQL.5432")
        relayed = self.make_database(dsn=self.dsn.replace(folder, self.relay.folder), size=1)
        self.committer = Committer(reactor, relayed, self.hub, self.metrics)  # type: ignore[arg-type]
        self.addCleanup(self.relay.stop)
        self.addCleanup(relayed.stop)
        self.addCleanup(self.committer.stop)

    async def run_into(self, trouble: str) -> None:
        """The trouble meets a batch of two accounts, which collected while another was stored."""
        other = await self.new_account()
        elsewhere = await self.new_session(other)
        watchers = [connect(self.account), connect(other)]
        for watcher in watchers:
            self.hub.add(watcher)
        [repeated] = await self.send(("l0", "before"))
        self.relay.trouble, self.relay.where = trouble, b"one of several"
        busy = self.committer.append(other, elsewhere, [IncomingMessage(None, "busy")])
        answers = [
            self.send((None, "one of several"), ("l0", "again"), ("l1", "two"), (None, "three")),
            self.committer.append(other, elsewhere, [IncomingMessage(None, str(n)) for n in range(3)]),
        ]
        answer, theirs = await gatherResults(answers)
        self.assertEqual([(stored.seq, stored.new) for stored in answer], SENT_TWICE)
        self.assertEqual([stored.seq for stored in theirs], [2, 3, 4])
        await self.relay.deliver_late()
        [last] = await self.send(("l2", "last"))
        self.assertEqual(([stored.seq for stored in await busy], repeated.seq, last.seq), ([1], 1, 5))
        for watcher, account, count in zip(watchers, (self.account, other), (5, 4), strict=True):
            self.assertEqual([envelope["seq"] for _, envelope in events(watcher)], list(range(1, count + 1)))
            self.assertEqual([body["message"]["seq"] for body in bodies(watcher)], list(range(1, count + 1)))
            self.assertEqual(psql(self.dsn, NUMBER, (account,)), [(count,)])
        self.assertEqual([row[2] for row in self.stored(self.session)], STORED_ONCE)

    async def test_the_batch_is_lost(self) -> None:
        """What never arrived is sent again."""
        await self.run_into(DROPPED)

    async def test_the_answer_is_lost(self) -> None:
        """What was stored, without an answer, keeps the numbers it got, messages without local id too."""
        await self.run_into(LOST)

    async def test_the_batch_comes_late(self) -> None:
        """What arrives after it was sent again has no effect."""
        await self.run_into(LATE)


class Trouble:
    """A database that answers each call as it is told to, and stores nothing.

    ``fails`` decides by the texts of a batch, and whether it is stored aside: the SQLSTATE to fail with, or
    None.
    """

    notes = False

    def __init__(self) -> None:
        self.linearizer = Linearizer()
        self.fails: Callable[[list[str], bool], str | None] = lambda contents, aside: None
        self.attempts: list[tuple[list[str], bool]] = []
        self.hold: Deferred[None] | None = None

    async def apply(self, work: Any, *, owner: str, aside: bool) -> list[AppendedRow]:
        if self.hold is not None:
            await self.hold
        contents = [row.content for row in work.keywords["rows"]]
        self.attempts.append((contents, aside))
        if (state := self.fails(contents, aside)) is not None:
            raise QueryFailed(state)
        return [AppendedRow(n + 1, True, "id", 1, 1, 0, 0) for n in range(len(contents))]


class TroubleTests(SynchronousTestCase):
    """Batches that cannot be stored, on a database that is not there."""

    def setUp(self) -> None:
        metrics = Metrics(CollectorRegistry())
        self.metrics = metrics
        self.clock, self.database = Clock(), Trouble()
        self.committer = Committer(self.clock, self.database, Hub(metrics), metrics)  # type: ignore[arg-type]
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def send(self, account: str, *contents: str) -> Deferred[Any]:
        return self.committer.append(
            account, f"{account}'s", [IncomingMessage(None, each) for each in contents]
        )

    def together(self, *accounts: str) -> list[Deferred[Any]]:
        """A message of each account, all in one batch, while another is being stored."""
        self.database.hold = hold = Deferred[None]()
        self.send("first", "first")
        answers = [self.send(account, account) for account in accounts]
        self.database.hold = None
        hold.callback(None)
        return answers

    def test_a_full_disk(self) -> None:
        """Messages are tried again until there is room, and the log says so now and then."""
        self.database.fails = lambda contents, aside: "53100"
        first, second = self.send("a", "1"), self.send("a", "2")
        self.clock.pump([0.1] * 20)
        [said] = [formatEvent(event) for event in self.logged]
        self.assertEqual(said, "2 messages wait: the disk is full")
        self.clock.pump([0.5] * 21)
        self.assertEqual(len(self.logged), 2)
        self.assertNoResult(first)
        self.database.fails = lambda contents, aside: None
        self.clock.pump([0.5])
        self.assertEqual([len(self.successResultOf(one)) for one in (first, second)], [1, 1])

    def test_one_that_takes_too_long(self) -> None:
        """It is looked for aside, by halves, and refused after some attempts; the others are stored."""
        for state in ("57014", "53200", "55P03"):
            self.database.attempts.clear()
            self.database.fails = lambda contents, aside, state=state: state if "c" in contents else None
            answers = self.together(*"abcdef")
            self.clock.pump([0.5] * 6)
            refused = answers.pop(2)
            self.failureResultOf(refused, Overloaded)
            self.assertTrue(all(len(self.successResultOf(answer)) == 1 for answer in answers))
            tried = [contents for contents, aside in self.database.attempts if "c" in contents]
            self.assertEqual(tried[-SLOW_ATTEMPTS:], [["c"]] * SLOW_ATTEMPTS)
            self.assertEqual([aside for _, aside in self.database.attempts].count(False), 2)
            self.assertTrue(self.committer.settled("a").called)
        turned_away = self.metrics.happy_commit_turned_away_total.labels("slow")
        self.assertEqual(turned_away._value.get(), 3)

    def test_others_do_not_wait_for_it(self) -> None:
        """While a batch is looked into aside, messages of other accounts are stored."""
        self.database.fails = lambda contents, aside: "57014" if "a" in contents else None
        slow = self.send("a", "a")
        self.assertEqual(len(self.successResultOf(self.send("b", "b"))), 1)
        self.assertNoResult(slow)
        self.assertNoResult(self.committer.settled("a"))
        self.assertTrue(self.committer.settled("b").called)

    def test_its_data_and_its_time(self) -> None:
        """A batch that is halved for its data, and then takes too long, stores nothing twice."""

        def fails(contents: list[str], aside: bool) -> str | None:
            return "54000" if "d" in contents else "57014" if "b" in contents and not aside else None

        self.database.fails = fails
        answers = self.together(*"abcd")
        self.clock.pump([0.5] * 3)
        self.failureResultOf(answers.pop(), QueryFailed)
        self.assertTrue(all(len(self.successResultOf(answer)) == 1 for answer in answers))
        stored = [contents for contents, aside in self.database.attempts if fails(contents, aside) is None]
        self.assertEqual(sorted(each for contents in stored for each in contents), ["a", "b", "c", "first"])

    def test_readers_do_not_wait_for_ever(self) -> None:
        """Who waits for a batch that cannot be stored is refused after a while; others do not wait at all."""
        self.database.fails = lambda contents, aside: "53100"
        sent = self.send("a", "x")
        reader = self.committer.settled("a")
        self.assertTrue(self.committer.settled("b").called)
        self.clock.pump([0.5] * 9)
        self.assertNoResult(reader)
        self.clock.pump([0.5] * 2)
        self.failureResultOf(reader, Overloaded)
        self.database.fails = lambda contents, aside: None
        self.clock.pump([0.5])
        self.assertEqual(len(self.successResultOf(sent)), 1)

    def test_overdue_answers(self) -> None:
        """Senders that wait too long are told so, also after a round in which that went wrong."""
        self.committer.start()
        self.addCleanup(self.committer.stop)
        self.database.fails = lambda contents, aside: "53100"
        answers = [self.send("a", "1"), self.send("b", "2")]
        self.clock.advance(ANSWER_SECONDS - 1)
        self.patch(self.committer, "_commits", None)
        self.clock.advance(EXPIRY_CHECK_SECONDS)
        self.patch(self.committer, "_commits", [])
        self.clock.advance(EXPIRY_CHECK_SECONDS)
        self.failureResultOf(answers[1], DatabaseDown)

    def test_stopping_in_trouble(self) -> None:
        """A stop waits for what is being looked into, and for nothing that comes then."""
        self.database.fails = lambda contents, aside: None if aside else "57014"
        self.database.hold = hold = Deferred[None]()
        sent = self.send("a", "x")
        stopping = self.committer.stop()
        self.failureResultOf(self.send("b", "late"), Overloaded)
        self.assertNoResult(stopping)
        self.database.hold = None
        hold.callback(None)
        self.assertEqual(len(self.successResultOf(sent)), 1)
        self.successResultOf(stopping)
