"""Transactions whose callers or connections go away, on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults

from happy.base.errors import DatabaseDown, OutcomeUnknown, Overloaded
from happy.storage import attempt
from happy.storage.transaction import Transaction
from tests.harness import DatabaseCase
from tests.storage.proxy import DROPPED, LATE, LOST, MUTE, SILENT, Relay
from tests.storage.working import INSERT_VALUE, Audience, Counter, publishes, start


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
        """Past half of the backlog an owner's call is refused at once; those before it are served."""
        database = self.make_database(backlog=4)
        calls = [start(database.read(self.nothing, owner="a")) for _ in range(2)]
        await self.assertFailure(start(database.read(self.nothing, owner="a")), Overloaded)
        calls.append(start(database.read(self.nothing, owner="b")))
        await gatherResults(calls)
        await database.read(self.nothing, owner="a")
        await database.stop()

    async def test_the_largest_owner_makes_room(self) -> None:
        """When there is no place left, the owner of most calls loses the latest that has not begun."""
        database = self.make_database(size=1, backlog=4)
        gate: Deferred[None] = Deferred()
        first = start(database.transact(lambda tx: self.slow(tx, gate), owner="a"))
        calls = {owner: start(database.read(self.nothing, owner=owner)) for owner in ("a", "b", "c", "d")}
        await self.assertFailure(calls.pop("a"), Overloaded)
        gate.callback(None)
        await gatherResults([first, *calls.values()])
        await database.stop()

    async def test_the_server_has_no_backlog(self) -> None:
        """What the server does by itself is not refused, however much there is."""
        database = self.make_database(backlog=1)
        await gatherResults([start(database.read(self.nothing)) for _ in range(5)])
        await database.stop()

    async def test_pings_together(self) -> None:
        """All who ask at the same time whether the database answers hear the same, for one round trip."""
        database = self.make_database(backlog=1)
        pings = [start(database.ping()) for _ in range(5)]
        self.assertEqual((database.pool.busy, database.pool.waiting), (1, 0))
        await gatherResults(pings)
        await database.stop()
        await gatherResults([self.assertFailure(start(database.ping()), Overloaded) for _ in range(2)])

    async def nothing(self, tx: Transaction) -> None:
        await tx.row("SELECT 1")

    async def slow(self, tx: Transaction, gate: Deferred[None]) -> None:
        await tx.row("SELECT 1")
        await gate

    async def test_reserved_work(self) -> None:
        """Batches and what goes aside wait for no other work, however much there is."""
        database = self.make_database(size=1, backlog=2)
        gate: Deferred[None] = Deferred()
        calls = [start(database.transact(lambda tx: self.slow(tx, gate))) for _ in range(2)]
        counter = Counter("reserved")
        await database.apply(lambda tx: tx.rows(INSERT_VALUE, (counter.key, "3", tx.now, tx.now)))
        self.assertEqual(counter.value(self.dsn), 3)
        await database.apply(counter.increment, owner="a", aside=True)
        await database.transact(counter.increment, owner="b", aside=True)
        self.assertEqual(counter.value(self.dsn), 5)
        gate.callback(None)
        await gatherResults(calls)
        await database.stop()

    async def test_a_connection_that_does_not_come(self) -> None:
        """A call that waits too long for a connection is refused."""
        database = self.make_database(size=1, patience=0.05)
        gate: Deferred[None] = Deferred()
        holding = start(database.transact(lambda tx: self.slow(tx, gate)))
        await self.assertFailure(start(database.read(self.nothing, owner="a")), Overloaded)
        self.assertEqual(database.pool.waiting, 0)
        gate.callback(None)
        await holding
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
        self.relayed_dsn = self.dsn.replace(folder, self.relay.folder)
        self.relayed = self.make_database(dsn=self.relayed_dsn, size=1)
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

    def be_impatient(self) -> None:
        """Take PostgreSQL for dead after a moment."""
        self.patch(attempt, "STATEMENT_SECONDS", 0.1)
        self.patch(attempt, "LEAST_SECONDS", 0.1)

    async def test_a_silent_server(self) -> None:
        """A statement without an answer ends its connection, and the work is done again over another."""
        self.be_impatient()
        await self.run_into(SILENT, b"SimpleCache")
        self.assertEqual(self.counter.runs, 2)

    async def test_silence_at_the_commit(self) -> None:
        """A COMMIT without an answer is looked for; it is done again only if it had no effect."""
        self.be_impatient()
        await self.run_into(SILENT)
        self.assertEqual(self.counter.runs, 2)

    async def test_silence_after_the_commit(self) -> None:
        """A COMMIT that took effect, of which nothing was heard, is published once."""
        self.be_impatient()
        await self.run_into(MUTE)
        self.assertEqual(self.counter.runs, 1)

    async def test_silence_that_lasts(self) -> None:
        """When PostgreSQL stays silent a call ends within its patience, and its connection is closed."""
        self.be_impatient()
        impatient = self.make_database(dsn=self.relayed_dsn, size=1, patience=0.3)
        await impatient.ping()
        self.relay.trouble, self.relay.lasts = SILENT, True
        for call in (impatient.read(lambda tx: tx.row("SELECT 1")), impatient.transact(self.work)):
            await self.assertFailure(start(call), DatabaseDown)
        self.assertEqual((impatient.pool.idle, impatient.pool.busy), (0, 0))
        self.relay.trouble = None
        await impatient.ping()
        await impatient.stop()

    async def test_nobody_knows_in_time(self) -> None:
        """A caller is told that the outcome is unknown; what was changed is published when it is known."""
        self.be_impatient()
        impatient = self.make_database(dsn=self.relayed_dsn, size=1, patience=0.3)
        await impatient.ping()
        self.relay.trouble, self.relay.closed = LOST, True
        await self.assertFailure(
            start(impatient.transact(self.work, accounts=[self.account])), OutcomeUnknown
        )
        self.assertTrue(impatient.linearizer.held(self.account))
        self.relay.closed = False
        release = await impatient.linearizer.acquire([self.account])
        release()
        self.assertEqual(self.counter.value(self.dsn), 1)
        self.assertEqual(self.publisher.seqs(self.account), [1])
        await impatient.stop()

    async def test_a_host_by_name(self) -> None:
        """A server is looked up by name without holding up the reactor; a name without one is a reason."""
        database = self.make_database(dsn="postgresql://happy@host.invalid/x", patience=0.01)
        failure = await self.assertFailure(start(database.ping()), DatabaseDown)
        self.assertRegex(str(failure), "(?i)name")
        await database.stop()
        database = self.make_database(dsn="postgresql://happy@localhost:1/x", patience=0.3)
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
