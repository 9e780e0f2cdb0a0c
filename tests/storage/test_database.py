"""Transactions, publication order and lost connections, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from happy.errors import AccountVanished, DatabaseDown, Overloaded, QueryFailed
from happy.ids import new_cuid
from happy.storage.database import Database, Millis, Transaction
from happy.storage.types import Jsonb
from tests.harness import DatabaseCase, insert_account, psql
from tests.storage.proxy import DROPPED, LATE, LOST, Relay

INSERT_VALUE = """
INSERT INTO "SimpleCache" ("key", "value", "createdAt", "updatedAt") VALUES (%s, %s, %s, %s)
"""
BUMP = """
UPDATE "SimpleCache" SET "value" = ("value"::integer + 1)::text WHERE "key" = %s
"""


class Audience(NamedTuple):
    account: str


def start(coroutine: Any) -> Deferred[Any]:
    """Run a coroutine now."""
    return Deferred.fromCoroutine(coroutine)


def publishes(*accounts: str) -> Callable[[Transaction], Awaitable[None]]:
    """Work that publishes once to each account."""

    async def work(tx: Transaction) -> None:
        for account in accounts:
            tx.publish(Audience(account), "changed")

    return work


class Counter:
    """A stored number that work increments; how often work ran is counted apart from it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.runs = 0

    async def create(self, database: Database) -> None:
        await database.transact(
            lambda tx: tx.run(INSERT_VALUE, (self.key, "0", Millis(tx.now), Millis(tx.now)))
        )

    async def increment(self, tx: Transaction) -> None:
        self.runs += 1
        await tx.run(BUMP, (self.key,))

    def value(self, dsn: str) -> int:
        ((value,),) = psql(dsn, 'SELECT "value" FROM "SimpleCache" WHERE "key" = %s', (self.key,))
        return int(value)


class TransactTests(DatabaseCase):
    """What a transaction does and leaves."""

    async def test_publishes_with_consecutive_numbers(self) -> None:
        """Publications of a transaction take the account's next numbers, in their order."""
        account = await self.new_account()
        for _ in range(2):
            await self.database.transact(publishes(account, account), accounts=[account])
        self.assertEqual(self.publisher.seqs(account), [1, 2, 3, 4])
        self.assertEqual(psql(self.dsn, 'SELECT "seq" FROM "Account" WHERE "id" = %s', (account,)), [(4,)])

    async def test_updates_carry_the_transaction_s_time(self) -> None:
        """An update's time is the one the transaction wrote to its rows."""
        account = await self.new_account()
        await self.database.transact(publishes(account), accounts=[account])
        stored = 'SELECT (extract(epoch FROM "updatedAt") * 1000)::bigint FROM "Account" WHERE "id" = %s'
        self.assertEqual(psql(self.dsn, stored, (account,)), [(self.publisher.updates[0].created_at,)])

    async def test_a_failure_leaves_nothing(self) -> None:
        """What a failing transaction wrote, published and asked for afterwards is all dropped."""
        account, called = await self.new_account(), []

        async def work(tx: Transaction) -> None:
            await publishes(account)(tx)
            tx.signal(Audience(account), "signal")
            tx.after_commit(lambda: called.append(True))
            await tx.run('UPDATE "Account" SET "username" = \'nobody\' WHERE "id" = %s', (account,))
            raise LookupError

        await self.assertFailure(start(self.database.transact(work, accounts=[account])), LookupError)
        self.assertEqual((self.publisher.updates, self.publisher.signals, called), ([], [], []))
        row = psql(self.dsn, 'SELECT "seq", "username" FROM "Account" WHERE "id" = %s', (account,))
        self.assertEqual(row, [(0, None)])

    async def test_outbox_keeps_its_order_and_comes_before_callbacks(self) -> None:
        """Updates and signals are released in the order they were made, callbacks after them."""
        account = await self.new_account()
        heard: list[object] = []
        self.publisher.deliver = lambda update: heard.append(update.seq)  # type: ignore[method-assign]
        self.publisher.signal = lambda audience, body: heard.append(body)  # type: ignore[method-assign]

        async def work(tx: Transaction) -> None:
            tx.after_commit(lambda: heard.append("after"))
            tx.publish(Audience(account), "a")
            tx.signal(Audience(account), "signal")
            tx.publish(Audience(account), "b")

        await self.database.transact(work, accounts=[account])
        self.assertEqual(heard, [1, "signal", 2, "after"])

    async def test_a_failing_publisher_does_not_undo_the_commit(self) -> None:
        """When delivery fails, the caller still learns that the work was done, and callbacks run."""
        account, called = await self.new_account(), []
        self.publisher.deliver = lambda update: 1 // 0  # type: ignore[method-assign]

        async def work(tx: Transaction) -> str:
            tx.publish(Audience(account), "a")
            tx.after_commit(lambda: called.append(True))
            return "done"

        self.assertEqual(await self.database.transact(work, accounts=[account]), "done")
        self.assertEqual(called, [True])

    async def test_publishing_to_an_account_that_was_not_named(self) -> None:
        """The work is run again with that account held as well, and takes effect once."""
        named, other = await self.new_account(), await self.new_account()
        counter = Counter(named)
        await counter.create(self.database)
        held: list[bool] = []

        async def work(tx: Transaction) -> None:
            await counter.increment(tx)
            held.append(self.database.linearizer.held(other))
            await publishes(named, other)(tx)

        await self.database.transact(work, accounts=[named])
        self.assertEqual(held, [False, True])
        self.assertEqual(counter.value(self.dsn), 1)
        self.assertEqual((self.publisher.seqs(named), self.publisher.seqs(other)), ([1], [1]))

    async def test_publishing_to_an_account_made_by_the_work(self) -> None:
        """An account that the transaction itself creates has its first number taken."""
        account = new_cuid()

        async def work(tx: Transaction) -> None:
            await insert_account(tx, account)
            tx.publish(Audience(account), "new")

        await self.database.transact(work, accounts=[account])
        self.assertEqual(self.publisher.seqs(account), [1])

    async def test_a_vanished_account(self) -> None:
        """Publishing to an account without a row fails, and leaves nothing."""
        counter = Counter("vanished")
        await counter.create(self.database)

        async def work(tx: Transaction) -> None:
            await counter.increment(tx)
            tx.publish(Audience("nobody"), "changed")

        await self.assertFailure(start(self.database.transact(work, accounts=["nobody"])), AccountVanished)
        await self.assertFailure(start(self.database.transact(work)), AccountVanished)
        self.assertEqual(counter.value(self.dsn), 0)

    async def test_going_on_after_a_refused_statement(self) -> None:
        """Work that swallows a statement's failure fails as a whole: PostgreSQL committed nothing."""
        counter = Counter("swallowed")
        await counter.create(self.database)

        async def work(tx: Transaction) -> None:
            await counter.increment(tx)
            await self.assertFailure(start(tx.row("SELECT 1 / 0")), QueryFailed)

        failure = await self.assertFailure(start(self.database.transact(work)), QueryFailed)
        self.assertEqual(failure.sqlstate, "25P02")
        self.assertEqual(counter.value(self.dsn), 0)
        self.assertEqual(await self.database.read(lambda tx: tx.row("SELECT 1")), (1,))

    async def test_errors_hold_no_values(self) -> None:
        """A refused statement is known by its state and constraint; the values stay out of the error."""
        counter = Counter("very-secret")
        await counter.create(self.database)
        failure = await self.assertFailure(start(counter.create(self.database)), QueryFailed)
        self.assertEqual((failure.sqlstate, failure.constraint), ("23505", "SimpleCache_pkey"))
        self.assertNotIn("very-secret", f"{failure!r} {failure} {failure.__cause__} {failure.__context__}")

    async def test_a_statement_that_takes_too_long(self) -> None:
        """A statement past its time is refused as such, and its connection stays good."""

        async def work(tx: Transaction) -> None:
            await tx.run("SET LOCAL statement_timeout = 1")
            await tx.row("SELECT pg_sleep(60)")

        failure = await self.assertFailure(start(self.database.transact(work)), QueryFailed)
        self.assertEqual(failure.sqlstate, "57014")
        await self.database.ping()

    async def test_nothing_to_do_costs_nothing(self) -> None:
        """A transaction without statements succeeds without a commit."""

        async def work(tx: Transaction) -> str:
            tx.signal(Audience("anyone"), "signal")
            return "done"

        self.assertEqual(await self.database.transact(work), "done")
        self.assertEqual(self.publisher.signals, [(Audience("anyone"), "signal")])


class ValueTests(DatabaseCase):
    """Values on their way in and out."""

    async def test_round_trips(self) -> None:
        """Times, bytes and JSON come back as they went in, alone and in lists."""
        moment, raw, value = Millis(1795418951844), bytes(range(256)), {"a": ["'\\", 1.5, None, "é"]}
        sql = "SELECT %s, %s, %s, %s::timestamp[], %s::bytea[], ARRAY[%s], %s::timestamp, NULL::bytea"
        params = (moment, raw, Jsonb(value), [moment, None], [raw, b""], Jsonb(1), Millis(-1))
        row = await self.database.read(lambda tx: tx.row(sql, params))
        assert row is not None
        self.assertEqual(row[:2], (moment, raw))
        self.assertEqual(msgspec.json.decode(row[2]), value)
        self.assertEqual(row[3:], ([moment, None], [raw, b""], ["1"], -1, None))

    async def test_times_without_a_fraction(self) -> None:
        """A whole second comes back as one."""
        row = await self.database.read(lambda tx: tx.row("SELECT TIMESTAMP '2026-11-23 07:00:00'"))
        self.assertEqual(row, (1795417200000,))

    async def test_sessions_are_in_utc(self) -> None:
        """The server's own time, where a default uses it, is UTC; other casts of this process stay."""
        row = await self.database.read(lambda tx: tx.row("SELECT current_setting('TimeZone')"))
        self.assertEqual(row, ("UTC",))
        self.assertEqual(psql(self.dsn, "SELECT '{\"a\": 1}'::jsonb"), [({"a": 1},)])


class ReadTests(DatabaseCase):
    """Reading without a transaction."""

    async def test_reading_changes_nothing(self) -> None:
        """A reading transaction refuses to change and to publish, and may signal."""

        async def work(tx: Transaction) -> None:
            with self.assertRaises(TypeError):
                tx.publish(Audience("a"), "changed")
            await self.assertFailure(start(tx.run("SELECT 1")), TypeError)
            tx.signal(Audience("a"), "signal")

        await self.database.read(work)
        self.assertEqual(len(self.publisher.signals), 1)

    async def test_a_connection_that_died_idle(self) -> None:
        """Sessions that PostgreSQL ended meanwhile are replaced without anyone noticing."""
        await self.database.ping()
        end_sessions(self.dsn)
        await self.database.ping()

    async def test_a_connection_that_dies_in_use(self) -> None:
        """A read whose session is ended in the middle is repeated."""
        runs = []

        async def work(tx: Transaction) -> Any:
            runs.append(await tx.row("SELECT 1"))
            if len(runs) == 1:
                end_sessions(self.dsn)
            return await tx.row("SELECT 2")

        self.assertEqual(await self.database.read(work), (2,))
        self.assertEqual(len(runs), 2)


class OrderTests(DatabaseCase):
    """D-1: publication order is number order, without gaps."""

    async def test_several_writers_of_the_same_accounts(self) -> None:
        """Transactions on overlapping accounts, some failing, publish gapless numbers in order."""
        accounts = [await self.new_account() for _ in range(3)]

        async def failing(tx: Transaction) -> None:
            await publishes(*accounts)(tx)
            raise LookupError

        def one(turn: int) -> Deferred[Any]:
            chosen = [accounts[turn % 3], accounts[(turn + turn // 3) % 3]]
            if turn % 7 == 0:
                return self.assertFailure(
                    start(self.database.transact(failing, accounts=accounts)), LookupError
                )
            named = chosen if turn % 2 else chosen[:1]
            return start(self.database.transact(publishes(*chosen), accounts=named))

        await gatherResults([one(turn) for turn in range(60)], consumeErrors=True)
        for account in accounts:
            seqs = self.publisher.seqs(account)
            self.assertEqual(seqs, list(range(1, len(seqs) + 1)))
            self.assertGreater(len(seqs), 20)

    async def test_two_servers_on_one_database(self) -> None:
        """Numbers taken by two servers are gapless together, and in order for each."""
        other = self.make_database()
        await other.start()
        account = await self.new_account()
        works = [publishes(account) for _ in range(40)]
        await gatherResults(
            [
                start(database.transact(work, accounts=[account]))
                for work in works
                for database in (self.database, other)
            ]
        )
        await other.stop()
        self.assertEqual(sorted(self.publisher.seqs(account)), list(range(1, 81)))

    async def test_a_deadlock_is_tried_again(self) -> None:
        """Two transactions that wait for each other's rows both take effect, once."""
        counters = [Counter("deadlock-a"), Counter("deadlock-b")]
        for counter in counters:
            await counter.create(self.database)
        arrived: list[Deferred[None]] = []

        async def meet(tx: Transaction) -> None:
            """Let go only when both hold their first row; a later attempt finds the way free."""
            arrived.append(Deferred())
            if len(arrived) == 1:
                await arrived[0]
            elif len(arrived) == 2:
                arrived[0].callback(None)

        def both(first: Counter, second: Counter) -> Callable[[Transaction], Awaitable[None]]:
            async def work(tx: Transaction) -> None:
                await tx.run("SET LOCAL deadlock_timeout = '10ms'")
                await first.increment(tx)
                await meet(tx)
                await second.increment(tx)

            return work

        await gatherResults(
            [start(self.database.transact(both(*order))) for order in (counters, reversed(counters))]
        )
        self.assertEqual([counter.value(self.dsn) for counter in counters], [2, 2])
        self.assertEqual(len(arrived), 3)


class CallerTests(DatabaseCase):
    """Callers that go away, and callers that are too many."""

    size = 1

    async def test_a_cancelled_caller_does_not_stop_the_work(self) -> None:
        """Cancelling drops the answer; the work commits, and the only connection stays good."""
        account = await self.new_account()
        counter = Counter("cancelled")
        await counter.create(self.database)

        async def work(tx: Transaction) -> None:
            await counter.increment(tx)
            waiting.cancel()
            await tx.row("SELECT 1")
            tx.publish(Audience(account), "changed")

        waiting = Deferred[Any]()
        waiting = start(self.database.transact(work, accounts=[account]))
        await self.assertFailure(waiting, CancelledError)
        await self.database.transact(counter.increment, accounts=[account])
        self.assertEqual(counter.value(self.dsn), 2)
        self.assertEqual(self.publisher.seqs(account), [1])

    async def test_too_many_calls(self) -> None:
        """Past the backlog a call is refused at once; those before it are served."""
        database = self.make_database(backlog=2)
        calls = [start(database.transact(Counter("none").increment)) for _ in range(2)]
        await self.assertFailure(start(database.ping()), Overloaded)
        await gatherResults(calls)
        await database.ping()
        await database.stop()

    async def test_reserved_work(self) -> None:
        """Work with a connection of its own waits for no other work, however much there is."""
        database = self.make_database(size=1, backlog=2)
        gate: Deferred[None] = Deferred()

        async def slow(tx: Transaction) -> None:
            await tx.row("SELECT 1")
            await gate

        calls = [start(database.transact(slow)) for _ in range(2)]
        await self.assertFailure(start(database.ping()), Overloaded)
        counter = Counter("reserved")
        await database.apply(lambda tx: tx.rows(INSERT_VALUE, (counter.key, "3", tx.now, tx.now)))
        self.assertEqual(counter.value(self.dsn), 3)
        gate.callback(None)
        await gatherResults(calls)
        await database.stop()

    async def test_one_connection_for_everything(self) -> None:
        """Where only one connection is allowed there is no other for reserved work."""
        database = self.make_database(dsn=f"{self.dsn}&connection_limit=1")
        connections: set[int] = set()

        async def note(tx: Transaction) -> None:
            row = await tx.row("SELECT pg_backend_pid()")
            assert row is not None
            connections.add(row[0])

        await database.transact(note)
        await database.apply(note)
        self.assertEqual(len(connections), 1)
        await database.stop()

    async def test_a_turn_that_does_not_come(self) -> None:
        """A call that waits too long for its account is refused, and leaves no trace in the queue."""
        database = self.make_database(patience=0.01)
        release = database.linearizer.try_acquire(["a"])
        assert release is not None
        await self.assertFailure(start(database.transact(publishes(), accounts=["a"])), Overloaded)
        release()
        self.assertFalse(database.linearizer.held("a"))
        await database.stop()

    async def test_stop_waits_for_what_is_under_way(self) -> None:
        """Stopping lets a running transaction finish, and refuses new ones."""
        database = self.make_database()
        counter = Counter("stopping")
        await counter.create(database)
        stopped: list[Deferred[None]] = []

        async def work(tx: Transaction) -> None:
            stopped.append(start(database.stop()))
            await self.assertFailure(start(database.ping()), Overloaded)
            await counter.increment(tx)

        await database.transact(work)
        await stopped[0]
        self.assertEqual(counter.value(self.dsn), 1)


class LostConnectionTests(DatabaseCase):
    """Connections that break at the worst moments."""

    async def setUp(self) -> None:
        await super().setUp()
        from twisted.internet import reactor

        folder = dict(part.split("=") for part in self.dsn.partition("?")[2].split("&"))["host"]
        self.relay = Relay(reactor, f"{folder}/.s.PGSQL.5432")
        self.relayed = self.make_database(dsn=self.dsn.replace(folder, self.relay.folder), size=1)
        self.account = await self.new_account()
        self.counter = Counter(self.account)
        await self.counter.create(self.database)
        self.addCleanup(lambda: start(self.relay.stop()))
        self.addCleanup(lambda: start(self.relayed.stop()))

    async def work(self, tx: Transaction) -> None:
        await self.counter.increment(tx)
        tx.publish(Audience(self.account), "changed")

    async def run_into(self, trouble: str, where: bytes = b"COMMIT") -> None:
        self.relay.trouble, self.relay.where = trouble, where
        await self.relayed.transact(self.work, accounts=[self.account])
        self.assertEqual(self.counter.value(self.dsn), 1)
        self.assertEqual(self.publisher.seqs(self.account), [1])

    async def test_before_the_commit(self) -> None:
        """A connection that breaks in the middle of the work: it is done again, with one effect."""
        await self.run_into(DROPPED, b"SimpleCache")
        self.assertEqual(self.counter.runs, 2)

    async def test_the_commit_is_lost(self) -> None:
        """A COMMIT that never arrives is known to have had no effect, and the work is done again."""
        await self.run_into(DROPPED)
        self.assertEqual(self.counter.runs, 2)

    async def test_the_answer_to_the_commit_is_lost(self) -> None:
        """A COMMIT that took effect unseen is found out, and published once."""
        await self.run_into(LOST)
        self.assertEqual(self.counter.runs, 1)

    async def test_the_commit_arrives_late(self) -> None:
        """A COMMIT that arrives after the work was done again has no effect any more."""
        await self.run_into(LATE)
        self.assertEqual(self.counter.runs, 2)
        await self.relay.deliver_late()
        self.assertEqual(self.counter.value(self.dsn), 1)

    async def test_marks_of_earlier_attempts_do_not_count(self) -> None:
        """A lost COMMIT is not taken for the previous one of the same connection."""
        await self.relayed.transact(self.work, accounts=[self.account])
        self.relay.trouble = DROPPED
        await self.relayed.transact(self.work, accounts=[self.account])
        self.assertEqual(self.counter.value(self.dsn), 2)
        self.assertEqual(self.publisher.seqs(self.account), [1, 2])

    async def test_a_host_by_name(self) -> None:
        """A server is looked up by name without holding up the reactor; a name without one is a reason."""
        database = self.make_database(dsn="postgresql://happy@host.invalid/x", patience=0.01)
        failure = await self.assertFailure(start(database.ping()), DatabaseDown)
        self.assertRegex(str(failure), "(?i)name")
        await database.stop()
        database = self.make_database(dsn="postgresql://happy@localhost:1/x", patience=0.01)
        failure = await self.assertFailure(start(database.ping()), DatabaseDown)
        self.assertIn("refused", str(failure))
        await database.stop()

    async def test_nobody_there(self) -> None:
        """Without a server, calls fail as such after their patience, with libpq's reason."""
        database = self.make_database(dsn="postgresql://happy@/x?host=/nonexistent", patience=0.01)
        failure = await self.assertFailure(start(database.ping()), DatabaseDown)
        self.assertIn("/nonexistent", str(failure))
        await self.assertFailure(start(database.transact(self.work, accounts=["a"])), DatabaseDown)
        await database.stop()


def end_sessions(dsn: str) -> None:
    """End every other session of the database."""
    psql(
        dsn,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
