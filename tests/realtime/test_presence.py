"""Heartbeats, on a real database and a clock that the test moves."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import DatabaseDown
from happy.base.ids import new_cuid
from happy.metrics import Metrics
from happy.realtime.hub import Hub
from happy.realtime.presence import (
    ANSWER_SECONDS,
    FLUSH_SECONDS,
    MAX_ACCOUNT_STOPPED,
    STOP_SECONDS,
    SWEEP_SECONDS,
    Presence,
)
from happy.storage import presence as storage
from happy.storage.transaction import Transaction
from happy.storage.types import Millis
from tests.harness import DatabaseCase, psql
from tests.realtime.clients import bodies, connect

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "active", "lastActiveAt", "updatedAt")
VALUES (%s, %s, %s, '', %s, %s, %s)
"""

NEW_MACHINE = """
INSERT INTO "Machine" ("id", "accountId", "metadata", "active", "lastActiveAt", "updatedAt")
VALUES (%s, %s, '', %s, %s, %s)
"""

MINUTE = 60_000
HOUR = 60 * MINUTE


class PresenceTests(DatabaseCase):
    def make_publisher(self) -> Hub:
        self.metrics = Metrics(CollectorRegistry())
        self.hub = Hub(self.metrics)
        return self.hub

    async def setUp(self) -> None:
        await super().setUp()
        self.clock = Clock()
        self.clock.advance(time.time())
        self.ahead = 0.0
        now = lambda: self.clock.seconds() + self.ahead  # noqa: E731
        self.presence = Presence(self.clock, self.database, self.hub, self.metrics, now)
        self.account = await self.new_account()
        self.device = connect(self.account)
        self.hub.add(self.device)

    async def new_session(self, *, active: bool = True, age: int = 5 * MINUTE) -> str:
        session, at = new_cuid(), Millis(self.presence.now() - age)
        values = (session, self.account, session, active, at, at)
        await self.database.transact(lambda tx: tx.run(NEW_SESSION, values))
        return session

    async def new_machine(self, *, active: bool = False, age: int = 0) -> str:
        machine, at = new_cuid(), Millis(self.presence.now() - age)
        await self.database.transact(lambda tx: tx.run(NEW_MACHINE, (machine, self.account, active, at, at)))
        return machine

    def row(self, table: str, id: str) -> tuple[bool, int]:
        """Whether the row says active, and how many ms ago it was last active."""
        [(active, at)] = psql(
            self.dsn,
            f"""SELECT "active", extract(epoch FROM "lastActiveAt") * 1000 FROM "{table}" WHERE "id" = %s""",
            (id,),
        )
        return active, self.presence.now() - int(at)

    async def beat(self, session: str, *, age: int = 0, thinking: bool = False) -> None:
        at = self.presence.now() - age
        await self.presence.session_alive(self.account, session, at, thinking)

    async def test_heartbeat_is_stored_by_the_next_flush(self) -> None:
        """A session's row moves forward with the flush, not before."""
        session = await self.new_session(age=5 * MINUTE)
        await self.beat(session)
        self.assertEqual(self.row("Session", session), (True, 5 * MINUTE))
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 0))

    async def test_recent_heartbeats_are_not_written(self) -> None:
        """Within thirty seconds of the stored moment nothing is queued; afterwards it is."""
        session = await self.new_session(age=20_000)
        await self.beat(session)
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 20_000))
        self.clock.advance(11)
        await self.beat(session)
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 0))

    async def test_inactive_session_is_written_at_once(self) -> None:
        """A session shown as inactive becomes active with its first heartbeat (D-12e)."""
        session = await self.new_session(active=False, age=1000)
        await self.beat(session)
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 0))

    async def test_new_machine_becomes_active(self) -> None:
        """A fresh, inactive machine becomes active at the flush after its first heartbeat."""
        machine = await self.new_machine()
        await self.presence.machine_alive(self.account, machine, self.presence.now())
        await self.presence.flush()
        self.assertEqual(self.row("Machine", machine), (True, 0))

    async def test_last_active_never_moves_back(self) -> None:
        """A heartbeat with an older time does not turn the stored one back (D-12c)."""
        machine = await self.new_machine(age=0)
        await self.presence.machine_alive(self.account, machine, self.presence.now() - MINUTE)
        await self.presence.flush()
        self.assertEqual(self.row("Machine", machine), (True, 0))

    async def test_foreign_and_unknown(self) -> None:
        """Heartbeats of another account's or unknown sessions change and announce nothing."""
        session = await self.new_session()
        stranger = await self.new_account()
        await self.presence.session_alive(stranger, session, self.presence.now(), True)
        await self.presence.session_alive(self.account, "unknown", self.presence.now(), True)
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 5 * MINUTE))
        self.assertEqual(bodies(self.device), [])

    async def test_ids_that_cannot_be(self) -> None:
        """An id that PostgreSQL cannot even be asked for does not keep others from being validated."""
        asked, waiting = await self.new_session(), await self.new_session()
        beats = [self.beat(session) for session in (asked, "\0", waiting)]
        await gatherResults([Deferred.fromCoroutine(beat) for beat in beats])
        self.assertEqual([body["id"] for body in bodies(self.device)], [asked, waiting])

    async def test_a_cached_session_is_still_its_owners(self) -> None:
        """Once cached for its owner, a session is no less closed to another account."""
        session = await self.new_session()
        await self.beat(session)
        await self.presence.session_alive(await self.new_account(), session, self.presence.now(), True)
        self.assertEqual([body["thinking"] for body in bodies(self.device)], [False])

    async def test_signals(self) -> None:
        """Changed flags are announced at once, an unchanged heartbeat every ten seconds (D-23)."""
        session = await self.new_session()
        for thinking in (False, False, True, True):
            await self.beat(session, thinking=thinking)
        self.assertEqual([body["thinking"] for body in bodies(self.device)], [False, True])
        self.clock.advance(10)
        await self.beat(session, thinking=True)
        self.assertEqual(len(bodies(self.device)), 3)

    async def test_stop_window(self) -> None:
        """After a stop, queued and later heartbeats are ignored for a minute, unless it is resumed."""
        session = await self.new_session()
        await self.beat(session)
        await self.presence.stop_session(self.account, session)
        await self.beat(session, thinking=True)
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 5 * MINUTE))
        self.assertEqual(len(bodies(self.device)), 1)
        await self.presence.resume_session(self.account, session)
        await self.beat(session, thinking=True)
        self.assertEqual(len(bodies(self.device)), 2)

    async def test_stop_window_ends_by_itself(self) -> None:
        """A minute after the stop heartbeats count again."""
        session = await self.new_session()
        await self.presence.stop_session(self.account, session)
        self.clock.advance(60)
        await self.beat(session)
        self.assertEqual(len(bodies(self.device)), 1)

    async def test_stopped_during_validation(self) -> None:
        """A heartbeat whose look-up is under way when its session is stopped is ignored."""
        session = await self.new_session()
        locked: Deferred[None] = Deferred()
        stopped: Deferred[None] = Deferred()

        async def hold(tx: Transaction) -> None:
            await tx.run('LOCK TABLE "Session"')
            locked.callback(None)
            await stopped

        holding = Deferred.fromCoroutine(self.database.transact(hold))
        await locked
        running = Deferred.fromCoroutine(
            self.presence.session_alive(self.account, session, self.presence.now(), True)
        )
        await self.presence.stop_session(self.account, session)
        self.assertFalse(running.called)
        stopped.callback(None)
        await gatherResults([holding, running])
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, 5 * MINUTE))
        self.assertEqual(bodies(self.device), [])

    async def test_look_ups_are_gathered(self) -> None:
        """Many heartbeats at once are validated, and each is answered for itself."""
        sessions = [await self.new_session() for _ in range(20)]
        await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.presence.session_alive(self.account, session, self.presence.now(), False)
                )
                for session in [*sessions, "unknown"]
            ]
        )
        self.assertEqual(sorted(body["id"] for body in bodies(self.device)), sorted(sessions))

    async def test_deleted_row_is_given_up(self) -> None:
        """The heartbeat of a row that vanished does not stay pending for ever."""
        session = await self.new_session()
        await self.beat(session)
        psql(self.dsn, 'DELETE FROM "Session" WHERE "id" = %s', (session,))
        for _ in range(5):
            await self.presence.flush()
        self.assertEqual(list(self.presence._sessions.pending), [])

    async def test_sweep(self) -> None:
        """Rows without a heartbeat for ten minutes become inactive and are announced, exactly these."""
        idle, live = await self.new_session(age=11 * MINUTE), await self.new_session(age=9 * MINUTE)
        machine = await self.new_machine(active=True, age=10 * MINUTE)
        await self.presence.sweep()
        self.assertEqual(self.row("Session", idle), (False, 11 * MINUTE))
        self.assertEqual(self.row("Session", live), (True, 9 * MINUTE))
        self.assertEqual(self.row("Machine", machine), (False, 10 * MINUTE))
        heard: list[Any] = [(body["type"], body["id"], body["active"]) for body in bodies(self.device)]
        self.assertEqual(heard, [("activity", idle, False), ("machine-activity", machine, False)])

    async def test_stop_flushes(self) -> None:
        """Stopping the service stores what is pending."""
        session = await self.new_session()
        self.presence.start()
        await self.beat(session)
        await self.presence.stop()
        self.assertEqual(self.row("Session", session), (True, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_clock_put_back(self) -> None:
        """An hour back: heartbeats are stored, times in rows do not go back, what is cached ends in time."""
        session = await self.new_session(active=False, age=0)
        self.ahead = -3600.0
        await self.beat(session)
        await self.presence.flush()
        self.assertEqual(self.row("Session", session), (True, -HOUR))
        await self.beat(session, thinking=True)
        self.clock.advance(10)
        await self.beat(session, thinking=True)
        self.assertEqual([body["thinking"] for body in bodies(self.device)], [False, True, True])
        await self.presence.stop_session(self.account, session)
        self.clock.advance(60)
        await self.beat(session)
        self.assertEqual(len(bodies(self.device)), 4)

    async def test_an_end_with_the_clock_put_back(self) -> None:
        """A session that ends by the earlier time was last active when it was."""
        session = await self.new_session(age=0)
        self.ahead = -3600.0
        at = self.presence.now()
        await self.database.transact(lambda tx: storage.end_session(tx, self.account, session, at))
        self.assertEqual(self.row("Session", session), (False, -HOUR))

    async def test_clock_put_ahead(self) -> None:
        """An hour ahead: who is alive has ten minutes to be heard of before the sweep believes the clock."""
        alive, dead = await self.new_session(age=MINUTE), await self.new_session(age=MINUTE)
        right = await self.new_session(age=MINUTE)
        self.ahead = 3600.0
        await self.presence.sweep()
        await self.beat(right, age=HOUR)
        self.assertEqual(len(bodies(self.device)), 1)
        self.assertEqual([self.row("Session", session)[0] for session in (alive, dead)], [True, True])
        await self.beat(alive)
        await self.presence.flush()
        self.clock.advance(600)
        await self.beat(right, age=HOUR)
        self.assertEqual(len(bodies(self.device)), 2)
        await self.presence.sweep()
        self.assertEqual([self.row("Session", session)[0] for session in (alive, dead)], [False, False])
        await self.beat(alive)
        await self.presence.flush()
        self.assertEqual(self.row("Session", alive), (True, 0))


class SilentDatabase:
    """Answers nothing before it is told to; ``begun`` is how many statements it was sent."""

    def __init__(self) -> None:
        self.begun = 0
        self.silent = True

    async def read(self, work: Any) -> Any:
        self.begun += 1
        if self.silent:
            await Deferred()
        return await work(self)

    transact = read

    async def rows(self, sql: str, parameters: Any) -> list[Any]:
        """As a transaction: each session asked for exists, and what is to be written is."""
        if sql == storage.SESSIONS:
            return [(session, "account", 0, False) for session in parameters["ids"]]
        return [(session,) for session in parameters.get("ids", ())]

    now = Millis(0)


class SilenceTests(SynchronousTestCase):
    """A database that does not answer, in memory."""

    def setUp(self) -> None:
        self.clock, self.database = Clock(), SilentDatabase()
        metrics = Metrics(CollectorRegistry())
        database: Any = self.database
        self.presence = Presence(self.clock, database, Hub(metrics), metrics, self.clock.seconds)

    def beat(self, session: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self.presence.session_alive("account", session, 0.0, False))

    def begin_to_store(self) -> None:
        """A heartbeat whose write has no answer."""
        self.database.silent = False
        self.beat("s")
        self.database.silent = True
        self.presence.start()
        self.clock.advance(FLUSH_SECONDS)

    def test_accepted_times(self) -> None:
        """A heartbeat of the future counts for now; one older than ten minutes does not count."""
        self.clock.advance(4000)
        accepted = self.presence.accepted_time
        self.assertEqual(accepted(5_000_000), 4_000_000)
        self.assertEqual(accepted(3_999_999.7), 3_999_999)
        self.assertEqual(accepted(3_400_000), 3_400_000)
        self.assertIsNone(accepted(3_399_999))

    def test_nothing_to_wait_for(self) -> None:
        """A stop with nothing to store and no sweep under way is over at once."""
        self.successResultOf(self.presence.stop())

    def test_lost_answers_end_no_rounds(self) -> None:
        """Heartbeats are stored and rows swept when answers come again, though some never do."""
        self.begin_to_store()
        self.clock.pump([1.0] * 120)
        self.database.silent = False
        self.clock.pump([1.0] * 60)
        begun = self.database.begun
        self.assertEqual(list(self.presence._sessions.pending), [])
        self.clock.pump([1.0] * int(SWEEP_SECONDS))
        self.assertEqual(self.database.begun - begun, 2)

    def test_validation_without_an_answer(self) -> None:
        """Heartbeats whose look-up has no answer are let go, and later ones are validated."""
        waiting = self.beat("s")
        self.assertNoResult(waiting)
        self.clock.advance(ANSWER_SECONDS)
        self.successResultOf(waiting)
        self.database.silent = False
        self.successResultOf(self.beat("s"))
        self.assertEqual(list(self.presence._sessions.pending), ["s"])

    def test_a_session_that_ends_waits_for_its_heartbeat(self) -> None:
        """It is not stopped while a write under way may revive it, nor kept waiting for ever."""
        self.begin_to_store()
        other = Deferred.fromCoroutine(self.presence.stop_session("account", "other"))
        self.successResultOf(other)
        stopping = Deferred.fromCoroutine(self.presence.stop_session("account", "s"))
        self.clock.advance(ANSWER_SECONDS - 1)
        self.assertNoResult(stopping)
        self.clock.advance(1)
        self.failureResultOf(stopping, DatabaseDown)

    def test_what_others_are_told(self) -> None:
        """They hear how long heartbeats are ignored, and when they are not any more."""
        told: list[tuple[str, str, float]] = []
        self.presence.tell_stop = lambda *said: told.append(said)
        self.successResultOf(Deferred.fromCoroutine(self.presence.stop_session("account", "s")))
        self.clock.advance(STOP_SECONDS / 2)
        self.assertEqual(self.presence.stopped("account"), {"s": STOP_SECONDS / 2})
        self.clock.advance(STOP_SECONDS / 2)
        self.assertEqual(self.presence.stopped("account"), {})
        self.successResultOf(Deferred.fromCoroutine(self.presence.resume_session("account", "s")))
        self.assertEqual(told, [("account", "s", STOP_SECONDS), ("account", "s", 0)])

    def test_stopped_sessions_are_bounded(self) -> None:
        """Of an account that ends sessions without end only the latest are remembered."""
        for number in range(MAX_ACCOUNT_STOPPED + 10):
            self.successResultOf(Deferred.fromCoroutine(self.presence.stop_session("account", f"s{number}")))
        self.assertEqual(len(self.presence._stopped), MAX_ACCOUNT_STOPPED)
