"""Transactions, reads and the order of publication, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from happy.base.errors import AccountVanished, Overloaded, QueryFailed
from happy.base.ids import new_cuid
from happy.storage import attempt
from happy.storage.database import Database
from happy.storage.transaction import Transaction
from happy.storage.types import Jsonb, Millis
from tests.harness import DatabaseCase, insert_account, psql
from tests.storage.working import Audience, Counter, end_sessions, publishes, start


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

    async def test_held_until_told(self) -> None:
        """While an account's clients are being told, it is held, and what follows the commit waits."""
        account, called = await self.new_account(), []
        telling, asked = Deferred[None](), Deferred[None]()

        def told(whose: str) -> Deferred[None]:
            asked.callback(None)
            return telling

        self.publisher.told = told  # type: ignore[method-assign]

        async def work(tx: Transaction) -> None:
            tx.publish(Audience(account), "a")
            tx.after_commit(lambda: called.append(self.database.linearizer.held(account)))

        running = start(self.database.transact(work, accounts=[account]))
        await asked
        self.assertEqual((self.publisher.seqs(account), called), ([1], []))
        self.assertTrue(self.database.linearizer.held(account))
        telling.callback(None)
        await running
        self.assertEqual(called, [True])

    async def test_of_several_each_is_held_until_its_own_are_told(self) -> None:
        """An account whose clients are told slowly keeps itself busy, and not the other of a transaction."""
        slow, quick = await self.new_account(), await self.new_account()
        telling, asked = Deferred[None](), Deferred[None]()

        def told(whose: str) -> Deferred[None] | None:
            if whose == quick:
                return None
            asked.callback(None)
            return telling

        self.publisher.told = told  # type: ignore[method-assign]
        running = start(self.database.transact(publishes(slow, quick), accounts=[slow, quick]))
        await asked
        release = await self.database.linearizer.acquire([quick])
        self.assertTrue(self.database.linearizer.held(slow))
        release()
        telling.callback(None)
        await running
        self.assertFalse(self.database.linearizer.held(slow))

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
        """A statement past its time is the end of its call, and its connection stays good."""

        async def work(tx: Transaction) -> None:
            await tx.run("SET LOCAL statement_timeout = 1")
            await tx.row("SELECT pg_sleep(60)")

        await self.assertFailure(start(self.database.transact(work)), Overloaded)
        slow = self.database.read(lambda tx: tx.row("SELECT pg_sleep(60)"), seconds=0.001)
        await self.assertFailure(start(slow), Overloaded)
        await self.database.ping()

    async def test_a_row_that_somebody_else_keeps(self) -> None:
        """A call that holds one account does not wait long for the row of another, nor try for ever."""
        self.patch(attempt, "BRIEFLY", "SET LOCAL lock_timeout = '1ms';")
        mine, theirs = [await self.new_account() for _ in range(2)]
        locked: Deferred[None] = Deferred()
        over: Deferred[None] = Deferred()

        async def lock(tx: Transaction) -> None:
            await tx.row('SELECT 1 FROM "Account" WHERE "id" = %s FOR UPDATE', (theirs,))
            locked.callback(None)
            await over

        holding = start(self.database.transact(lock))
        await locked
        await self.assertFailure(
            start(self.database.transact(publishes(mine, theirs), accounts=[mine, theirs])), Overloaded
        )
        over.callback(None)
        await holding

    async def test_nothing_to_do_costs_nothing(self) -> None:
        """A transaction without statements succeeds without a commit."""

        async def work(tx: Transaction) -> str:
            tx.signal(Audience("anyone"), "signal")
            return "done"

        marks = 'SELECT sum("attempt") FROM "happy_commits"'
        before = psql(self.dsn, marks, ())
        self.assertEqual(await self.database.transact(work), "done")
        self.assertEqual(self.publisher.signals, [(Audience("anyone"), "signal")])
        self.assertEqual(psql(self.dsn, marks, ()), before)

    async def test_what_time_it_is(self) -> None:
        """Rows and updates have the wall clock's time in milliseconds."""
        self.assertEqual(self.make_database(now=lambda: 1_700_000_000.5).now(), 1_700_000_000_500)


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

    def make_database(self, **options: Any) -> Database:
        """One that refuses nobody, however slow the machine is on which many wait for their turn."""
        return super().make_database(patience=60.0, **options)

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
