"""The durable message path, on a real database."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import Overloaded, QueryFailed
from happy.base.ids import new_cuid
from happy.metrics import Metrics
from happy.realtime.committer import SLOW_ATTEMPTS, Committer
from happy.realtime.hub import Hub, Scope
from happy.realtime.message_queue import LARGE_BYTES
from happy.realtime.updates import DeleteMachine, devices_of
from happy.storage.append import AppendedRow
from happy.storage.linearizer import Linearizer
from happy.storage.messages import NewMessage
from happy.storage.types import Millis
from tests.harness import DatabaseCase, psql
from tests.realtime.clients import bodies, connect, events
from tests.storage.proxy import DROPPED, LATE, LOST, Relay

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES (%s, %s, %s, '', %s)
"""

STORED = """
SELECT "seq", "localId", "content" ->> 'c' FROM "SessionMessage" WHERE "sessionId" = %s ORDER BY "seq"
"""

OVERSIZED_INDEX_KEY = "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))


NUMBER = 'SELECT "seq" FROM "Account" WHERE "id" = %s'

SENT_TWICE = [(1, False), (2, True), (3, True), (4, True)]
STORED_ONCE = ["before", "one of several", "two", "three", "last"]


class CommitterCase(DatabaseCase):
    """A committer that delivers through a real hub."""

    def make_publisher(self) -> Hub:
        self.metrics = Metrics(CollectorRegistry())
        self.hub = Hub(self.metrics)
        return self.hub

    async def setUp(self) -> None:
        from twisted.internet import reactor

        await super().setUp()
        self.committer = Committer(reactor, self.database, self.hub, self.metrics)  # type: ignore[arg-type]
        self.committer.startService()
        self.addCleanup(self.committer.stopService)
        self.account = await self.new_account()
        self.session = await self.new_session(self.account)

    async def new_session(self, account: str) -> str:
        session = new_cuid()
        await self.database.transact(
            lambda tx: tx.run(NEW_SESSION, (session, account, session, Millis(tx.now)))
        )
        return session

    def send(
        self, *messages: tuple[str | None, str], session: str | None = None, **more: Any
    ) -> Deferred[Any]:
        rows = [NewMessage(local_id, content) for local_id, content in messages]
        return self.committer.append(self.account, session or self.session, rows, **more)

    def stored(self, session: str) -> list[tuple[Any, ...]]:
        return psql(self.dsn, STORED, (session,))


class CommitterTests(CommitterCase):
    async def test_stores_in_order(self) -> None:
        """Messages are numbered in the order they were handed over, across senders."""
        answers = await gatherResults([self.send((f"l{n}", f"c{n}")) for n in range(5)])
        self.assertEqual([answer[0].seq for answer in answers], [1, 2, 3, 4, 5])
        self.assertEqual(self.stored(self.session), [(n + 1, f"l{n}", f"c{n}") for n in range(5)])

    async def test_delivered_before_answered(self) -> None:
        """When an answer reveals a number, its update is on the session's sockets (D-3)."""
        watcher = connect(self.account, Scope.SESSION, self.session)
        self.hub.add(watcher)
        heard: list[int] = []
        running = [self.send((None, str(n))) for n in range(4)]
        for answer in running:
            answer.addCallback(lambda _: heard.append(len(events(watcher))))
        await gatherResults(running)
        self.assertEqual(heard, [1, 4, 4, 4])
        self.assertEqual([body["message"]["seq"] for body in bodies(watcher)], [1, 2, 3, 4])

    async def test_update(self) -> None:
        """The update holds the message as the contract shapes it."""
        watcher = connect(self.account)
        self.hub.add(watcher)
        [stored] = await self.send(("l", "sealed"))
        [(_, envelope)] = events(watcher)
        self.assertEqual(
            envelope["body"],
            {
                "t": "new-message",
                "sid": self.session,
                "message": {
                    "id": stored.id,
                    "seq": 1,
                    "content": {"t": "encrypted", "c": "sealed"},
                    "localId": "l",
                    "createdAt": stored.created_at,
                    "updatedAt": stored.updated_at,
                },
            },
        )

    async def test_sender_is_skipped(self) -> None:
        """The sending socket does not hear its own message, other sockets do."""
        sender, other = connect(self.account), connect(self.account)
        self.hub.add(sender)
        self.hub.add(other)
        await self.send((None, "x"), skip=sender.socket)
        self.assertEqual((len(events(sender)), len(events(other))), (0, 1))

    async def test_repeated_local_id(self) -> None:
        """A message sent again is answered with the stored one; it takes no number and is not announced."""
        [first] = await self.send(("l", "one"))
        watcher = connect(self.account)
        self.hub.add(watcher)
        again, new = await self.send(("l", "other"), ("m", "two"))
        self.assertEqual(again, first._replace(new=False))
        self.assertEqual((new.seq, new.new), (2, True))
        self.assertEqual([body["message"]["localId"] for body in bodies(watcher)], ["m"])
        self.assertEqual(self.stored(self.session), [(1, "l", "one"), (2, "m", "two")])

    async def test_same_local_id_at_once(self) -> None:
        """Two senders of one local id get the same record, and one row exists."""
        [one], [other] = await gatherResults([self.send(("l", "a")), self.send(("l", "b"))])
        self.assertEqual((one.id, one.seq), (other.id, other.seq))
        self.assertEqual(sorted([one.new, other.new]), [False, True])

    async def test_unknown_and_foreign_sessions(self) -> None:
        """Messages to a session that is not the account's are not stored, and harm no other."""
        foreign = await self.new_session(await self.new_account())
        unknown, other, own = await gatherResults(
            [
                self.send(("l", "x"), session="nowhere"),
                self.send(("l", "x"), session=foreign),
                self.send(("l", "x")),
            ]
        )
        self.assertEqual((unknown, other, own[0].seq), (None, None, 1))
        self.assertEqual(self.stored(foreign), [])

    async def test_poison(self) -> None:
        """A message that the database refuses fails alone; its neighbours are stored without a gap."""
        contents = ["l0", "l1", OVERSIZED_INDEX_KEY, "l2", "l3"]
        running = [self.send((local_id, "x")) for local_id in contents]
        refused = running.pop(2)
        await self.assertFailure(refused, QueryFailed)
        outcomes = await gatherResults(running)
        self.assertEqual([outcome[0].seq for outcome in outcomes], [1, 2, 3, 4])
        self.assertEqual([row[0] for row in self.stored(self.session)], [1, 2, 3, 4])

    async def test_poison_fails_its_request_as_a_whole(self) -> None:
        """Of the messages sent together, none is stored when one is refused."""
        await self.assertFailure(self.send(("a", "x"), (OVERSIZED_INDEX_KEY, "x")), QueryFailed)
        self.assertEqual(self.stored(self.session), [])

    async def test_settled(self) -> None:
        """A reader that waits for the batch in flight finds its updates delivered."""
        watcher = connect(self.account)
        self.hub.add(watcher)
        running = self.send((None, "x"))
        for elsewhere in ((self.account, "another session"), ("another account", None)):
            self.assertTrue(self.committer.settled(*elsewhere).called)
        readers = [self.committer.settled(self.account, self.session), self.committer.settled(self.account)]
        self.assertFalse(any(reader.called for reader in readers))
        await gatherResults(readers)
        self.assertEqual(len(events(watcher)), 1)
        await running

    async def test_busy_accounts_stand_aside(self) -> None:
        """Messages of an account that somebody holds wait; those of others do not."""
        account = await self.new_account()
        session = await self.new_session(account)
        release = await self.database.linearizer.acquire([self.account])
        waiting = [self.send((str(n), "x")) for n in range(2)]
        for number in range(3):
            await self.committer.append(account, session, [NewMessage(str(number), "x")])
        self.assertEqual(self.stored(self.session), [])
        release()
        answers = await gatherResults(waiting)
        self.assertEqual([answer[0].seq for answer in answers], [1, 2])

    async def test_next_batch_leaves_before_the_answers(self) -> None:
        """PostgreSQL works on a batch while the one before is answered; its answers are not held up."""
        account = await self.new_account()
        session = await self.new_session(account)
        under_way: list[bool] = []
        first = self.send((None, "x"))
        first.addCallback(lambda _: under_way.append(not self.committer.settled(account, session).called))
        second = self.committer.append(account, session, [NewMessage(None, "y")])
        await gatherResults([first, second])
        self.assertEqual(under_way, [True])

    async def test_stop_commits_what_is_queued(self) -> None:
        """Stopping waits for every queued message."""
        running = [self.send((None, "x")) for _ in range(3)]
        await self.committer.stopService()
        self.assertTrue(all(answer.called for answer in running))
        self.assertEqual(len(self.stored(self.session)), 3)

    async def test_after_the_stop(self) -> None:
        """What comes when the committer stops, or has stopped, is refused; nothing is stored of it."""
        running = self.send((None, "x"))
        stopping = self.committer.stopService()
        await self.assertFailure(self.send((None, "late")), Overloaded)
        await stopping
        await running
        await self.assertFailure(self.send((None, "later")), Overloaded)
        self.assertEqual([row[2] for row in self.stored(self.session)], ["x"])

    async def test_large_ones_go_aside(self) -> None:
        """What is large keeps its order in its own account, and keeps nobody else waiting."""
        account = await self.new_account()
        session = await self.new_session(account)
        large = "x" * (LARGE_BYTES + 1)
        order: list[str] = []

        def note(answer: Deferred[Any], what: str) -> Deferred[Any]:
            return answer.addCallback(lambda stored: (order.append(what), stored)[1])

        answers = [
            note(self.send((None, "before")), "before"),
            note(self.send((None, large), ("l", large)), "large"),
            note(self.send((None, "after")), "after"),
            note(self.committer.append(account, session, [NewMessage(None, "other")]), "other"),
        ]
        stored = await gatherResults(answers)
        self.assertEqual(order, ["before", "other", "large", "after"])
        self.assertEqual([message.seq for each in stored[:3] for message in each], [1, 2, 3, 4])
        self.assertEqual([len(row[2]) for row in self.stored(self.session)], [6, *[len(large)] * 2, 5])
        [again] = await self.send(("l", large))
        self.assertEqual((again.seq, again.new), (3, False))


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
        self.addCleanup(self.committer.stopService)

    async def run_into(self, trouble: str) -> None:
        """The trouble meets a batch of two accounts, which collected while another was stored."""
        other = await self.new_account()
        elsewhere = await self.new_session(other)
        watchers = [connect(self.account), connect(other)]
        for watcher in watchers:
            self.hub.add(watcher)
        [repeated] = await self.send(("l0", "before"))
        self.relay.trouble, self.relay.where = trouble, b"one of several"
        busy = self.committer.append(other, elsewhere, [NewMessage(None, "busy")])
        answers = [
            self.send((None, "one of several"), ("l0", "again"), ("l1", "two"), (None, "three")),
            self.committer.append(other, elsewhere, [NewMessage(None, str(n)) for n in range(3)]),
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
        return self.committer.append(account, f"{account}'s", [NewMessage(None, each) for each in contents])

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

    def test_stopping_in_trouble(self) -> None:
        """A stop waits for what is being looked into, and for nothing that comes then."""
        self.database.fails = lambda contents, aside: None if aside else "57014"
        self.database.hold = hold = Deferred[None]()
        sent = self.send("a", "x")
        stopping = self.committer.stopService()
        self.failureResultOf(self.send("b", "late"), Overloaded)
        self.assertNoResult(stopping)
        self.database.hold = None
        hold.callback(None)
        self.assertEqual(len(self.successResultOf(sent)), 1)
        self.successResultOf(stopping)
