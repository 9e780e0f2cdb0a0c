"""Transactions with retries, and publication in commit order (decisions 3 and 4, realtime.md D-1)."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.base.bounds import Budget
from happy.base.errors import ConnectionLost, DatabaseDown, Overloaded, QueryFailed
from happy.base.shield import Shield
from happy.base.trouble import Trouble
from happy.storage.append import forget_writers
from happy.storage.attempt import Attempts, MoreAccounts, Work, read_within, roll_back, statement_limit
from happy.storage.calls import SERVER, Call
from happy.storage.connection import STATEMENT_SECONDS, Connection, execute
from happy.storage.dsn import parse_target
from happy.storage.lending import Pool, division
from happy.storage.linearizer import Linearizer, Release
from happy.storage.outcome import forget_old_marks
from happy.storage.pool import Connector
from happy.storage.refusals import advice
from happy.storage.telling import conclude
from happy.storage.transaction import Noting, Publisher, Transaction
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.base.clocks import Now
    from happy.metrics import Metrics

T = TypeVar("T")

SERIALIZATION_FAILURE = "40001"
DEADLOCK = "40P01"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"

_CONFLICTS = (SERIALIZATION_FAILURE, DEADLOCK, LOCK_NOT_AVAILABLE)
_TOO_SLOW = (LOCK_NOT_AVAILABLE, QUERY_CANCELED)

TOO_SLOW: Final = "slow"
"""Why a call was refused: one of its statements took too long, or waited too long for a row."""

_MAX_CONFLICTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds


class Database:
    """Pools of connections, and the two ways to use them: :meth:`transact` and :meth:`read`.

    ``clock`` is the reactor: deadlines, and the connections' descriptors. ``now`` tells the times that are
    stored. ``publisher`` receives what transactions publish; with ``noting`` so does the log
    (:mod:`happy.storage.log`), which ``notes`` tells. ``size`` connections are shared. Three more are
    for work that nobody else should wait behind: one for batches of messages, two for what takes long.
    ``patience`` is how many seconds a call waits for PostgreSQL to come back, for its turn on an account, or
    for a connection, and ``backlog`` how many calls may be under way at a time.

    Whoever a call is for is its owner: an account, or what stands for somebody who has none. One owner has
    at most half of the backlog and of the shared connections.
    """

    _log = Logger()

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 6,
        clock: Any,
        now: Now = time.time,
        publisher: Publisher,
        noting: Noting | None = None,
        metrics: Metrics | None = None,
        patience: float = 10.0,
        backlog: int = 2000,
    ) -> None:
        self._target = parse_target(dsn)
        self.connector = Connector(self._target, clock)
        self.linearizer = Linearizer()
        shared, batches, aside = division(self._target.limit, size)
        self.pool = Pool(self.connector.open, shared)
        self._batches = Pool(self.connector.open, batches) if batches else self.pool
        self._aside = Pool(self.connector.open, aside) if aside else self.pool
        self._clock = clock
        self._now = now
        self._publisher = publisher
        self._patience = patience
        self._metrics = metrics
        self._places = Budget(backlog, refused=self._count_refusal, latest=True)
        self._connecting = Trouble(self._log, "connecting to PostgreSQL", clock)
        self._attempts = Attempts(clock, self.connector, noting)
        self.notes = noting is not None
        self._busy = 0
        self._pings: list[Deferred[None]] = []
        self._stopping = False
        self._drained: Deferred[None] | None = None
        if metrics is not None:
            self._show(metrics)

    async def start(self) -> None:
        """Check that the database answers; it must have been migrated. Raises DatabaseDown."""
        if names := ", ".join(self._target.ignored):
            self._log.warn("DATABASE_URL: without meaning here, and left aside: {names}", names=names)
        connection = await self.connect()
        tx = Transaction(connection, self.now())
        ((version,),) = await tx.rows("SELECT current_setting('server_version')")
        self._log.info("PostgreSQL {version} answers", version=version)
        await forget_old_marks(tx)
        await forget_writers(tx)
        await execute(connection, "COMMIT")
        connection.close()

    async def stop(self) -> None:
        """Refuse new work, wait for what is under way, close every connection.

        Work that waits for PostgreSQL to come back fails now.
        """
        self._stopping = True
        self._attempts.stop()
        if self._busy:
            self._drained = Deferred()
            await self._drained
        for pool in (self.pool, self._batches, self._aside):
            pool.close()

    async def connect(self, patience: float | None = None) -> Connection:
        """A connection of one's own, outside the pools; the caller closes it.

        Tries for ``patience`` seconds, the database's own by default. Raises DatabaseDown, at once when it
        will not help to try again.
        """
        call = self._call(SERVER, self._patience if patience is None else patience)
        return await self._patiently(call, self._open)

    async def _open(self) -> Connection:
        try:
            connection = await self.connector.open()
        except ConnectionLost as lost:
            if lost.hopeless:
                raise DatabaseDown(f"{lost.reason}{advice(lost.reason)}") from None
            self._connecting.again(lost.reason)
            raise
        self._connecting.over()
        return connection

    async def ping(self) -> None:
        """One round trip, for all who ask at the same time. Raises DatabaseDown and Overloaded."""
        answer: Deferred[None] = Deferred()
        self._pings.append(answer)
        if len(self._pings) == 1:
            pinging = Deferred.fromCoroutine(self.read(lambda tx: tx.row("SELECT 1")))
            pinging.addCallback(lambda _: None).addBoth(self._pinged)
        await answer

    def _pinged(self, outcome: Any) -> None:
        waiting, self._pings = self._pings, []
        for one in waiting:
            one.callback(outcome)

    def now(self) -> Millis:
        """The wall clock's time in epoch milliseconds."""
        return Millis(self._now() * 1000)

    async def read(self, work: Work[T], *, owner: str = SERVER, seconds: float | None = None) -> T:
        """Run statements that only read, without a transaction around them, for ``owner``.

        Each sees what was committed when it began. The work is repeated when its connection is lost. With
        ``seconds`` each statement may take so long, and all see the same. Raises DatabaseDown and
        Overloaded.
        """
        call = self._admit(owner)
        attempt = partial(self._alone, call, work, seconds)
        return await Shield[T]().around(self._counted(call, self._patiently(call, attempt)))

    async def apply(self, work: Work[T], *, owner: str = SERVER, aside: bool = False) -> T:
        """Run statements that commit by themselves, once.

        Its connection is not one of those that all share, and it does not count in the backlog: the caller
        sees to it that there is one such call at a time, and that nobody else holds its accounts. Work that
        takes long goes ``aside``, where its statements are one transaction, and ``owner`` shares with
        others. Raises QueryFailed and Overloaded. After ConnectionLost a statement may have taken effect:
        the caller knows how to find out.
        """
        if self._stopping:
            raise Overloaded("the database is being closed")
        call = self._call(owner)
        return await self._counted(call, self._once(call, work, aside))

    async def transact(
        self, work: Work[T], *, accounts: Sequence[str] = (), owner: str | None = None, aside: bool = False
    ) -> T:
        """Run work in a transaction that holds the rows of ``accounts``, then publish what it left.

        The work may run several times: after a deadlock, a lost connection, or when it published to
        an account that was not named (which is then held too). Its outbox is numbered last before
        COMMIT, and delivered in order before anyone else can hold those accounts. A caller that is
        cancelled drops the result, never the work. ``owner`` is the first of the accounts, if there are
        any; the others are foreign, and their own work comes first. What takes long goes ``aside``.

        Raises what the work raises, after a rollback; AccountVanished when it published to an account
        without a row; DatabaseDown and Overloaded, when nothing was changed, and OutcomeUnknown when that
        is not known in time: then the change may still be made, and published.
        """
        call = self._admit(owner or (accounts[0] if accounts else SERVER))
        shield = Shield[T]()
        call.leave = shield.abandon
        pool = self._aside if aside else self.pool
        return await shield.around(self._counted(call, self._in_order(call, work, frozenset(accounts), pool)))

    # -- who may -------------------------------------------------------------------------------------

    def _call(self, owner: str, patience: float | None = None) -> Call:
        seconds = self._patience if patience is None else patience
        return Call(self._clock, owner, seconds, self._count_refusal)

    def _admit(self, owner: str) -> Call:
        """A new call. Raises Overloaded when there is no place for it."""
        if self._stopping:
            raise Overloaded("the database is being closed")
        call = self._call(owner)
        if owner != SERVER:
            call.place = self._places.open(owner, call)
            if not call.place.take(1):
                call.end()
                raise Overloaded("too many calls of the database")
        return call

    async def _counted(self, call: Call, work: Coroutine[Deferred[Any], Any, T]) -> T:
        self._busy += 1
        try:
            return await work
        finally:
            call.end()
            self._busy -= 1
            if self._drained is not None and not self._busy:
                self._drained.callback(None)

    async def _in_order(self, call: Call, work: Work[T], accounts: frozenset[str], pool: Pool) -> T:
        while True:
            try:
                if len(accounts) > 1:
                    return await self._with_others(call, work, accounts, pool)
                release = await self._turn(call, accounts)
                try:
                    attempt = partial(self._attempt, call, work, accounts, pool, release)
                    return await self._patiently(call, attempt)
                finally:
                    release()
            except MoreAccounts as more:
                accounts |= more.accounts

    async def _turn(self, call: Call, keys: Iterable[str]) -> Release:
        if (release := self.linearizer.try_acquire(keys)) is not None:
            return release
        return await call.wait(self.linearizer.wait(keys, call.owner))

    async def _with_others(self, call: Call, work: Work[T], accounts: frozenset[str], pool: Pool) -> T:
        """As one of an owner's calls at a time that need somebody else's account."""
        release = await self._turn(call, [f"others {call.owner}"])
        try:
            return await self._patiently(call, partial(self._attempt_with_others, call, work, accounts, pool))
        finally:
            release()

    async def _attempt_with_others(
        self, call: Call, work: Work[T], accounts: frozenset[str], pool: Pool
    ) -> T:
        connection, release = await self._hold(call, accounts, pool)
        try:
            return await self._attempt_on(call, connection, work, accounts, pool, release)
        finally:
            release()

    async def _hold(self, call: Call, accounts: frozenset[str], pool: Pool) -> tuple[Connection, Release]:
        """A connection and the accounts, neither of which is held while the other is waited for."""
        while call.may_wait:
            release = await self._turn(call, accounts)
            if (connection := pool.try_borrow(call)) is not None:
                return connection, release
            release()
            connection = await pool.borrow(call)
            if (at_once := self.linearizer.try_acquire(accounts)) is not None:
                return connection, at_once
            pool.give_back(connection, call)
        raise Overloaded("the database is busy")

    # -- attempts ------------------------------------------------------------------------------------

    async def _patiently(self, call: Call, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt while that helps: conflicts a few times, a lost server until the deadline."""
        conflicts, pause = 0, _FIRST_PAUSE
        while True:
            try:
                return await attempt()
            except ConnectionLost as lost:
                if self._stopping or pause > call.left:
                    raise DatabaseDown(f"no connection to PostgreSQL: {lost.reason or 'it broke'}") from None
                reason = "connection"
            except QueryFailed as refused:
                conflicts += 1
                if refused.sqlstate not in _CONFLICTS or conflicts == _MAX_CONFLICTS or not call.left:
                    if refused.sqlstate not in _TOO_SLOW:
                        raise
                    self._count_refusal(TOO_SLOW)
                    raise Overloaded("a statement took too long") from None
                reason = "conflict"
            if self._metrics is not None:
                self._metrics.happy_transaction_retries_total.labels(reason).inc()
            await self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _alone(self, call: Call, work: Work[T], seconds: float | None) -> T:
        """One attempt at work that only reads."""
        connection = await self.pool.borrow(call)
        connection.limit = statement_limit(call)
        try:
            tx = Transaction(connection, self.now(), reading=True)
            if seconds is None:
                result = await work(tx)
            else:
                result = await read_within(seconds, connection, work(tx))
        finally:
            self.pool.give_back(connection, call)
        await conclude(tx, {}, self._publisher)
        return result

    async def _once(self, call: Call, work: Work[T], aside: bool) -> T:
        pool = self._aside if aside else self._batches
        connection = await pool.borrow(call)
        connection.limit = STATEMENT_SECONDS
        tx = Transaction(connection, self.now(), reading=not aside)
        try:
            result = await work(tx)
            if tx.begun:
                await execute(connection, "COMMIT")
        except Exception:
            await roll_back(connection)
            raise
        finally:
            pool.give_back(connection, call)
        return result

    async def _attempt(
        self, call: Call, work: Work[T], accounts: frozenset[str], pool: Pool, release: Release
    ) -> T:
        connection = await pool.borrow(call)
        return await self._attempt_on(call, connection, work, accounts, pool, release)

    async def _attempt_on(
        self,
        call: Call,
        connection: Connection,
        work: Work[T],
        accounts: frozenset[str],
        pool: Pool,
        release: Release,
    ) -> T:
        try:
            tx = Transaction(connection, self.now())
            result, numbers = await self._attempts.run(call, connection, tx, work, accounts)
        finally:
            pool.give_back(connection, call)
        await conclude(tx, numbers, self._publisher, release)
        return result

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._clock, seconds * random.uniform(0.5, 1.0))

    # -- what is to be seen of it --------------------------------------------------------------------

    def _count_refusal(self, why: str) -> None:
        if self._metrics is not None:
            self._metrics.happy_database_refused_total.labels(why).inc()

    def _show(self, metrics: Metrics) -> None:
        pools = {self.pool, self._batches, self._aside}
        show = metrics.happy_database_connections.labels
        show("idle").set_function(lambda: sum(pool.idle for pool in pools))
        show("busy").set_function(lambda: sum(pool.busy for pool in pools))
        waiting = metrics.happy_database_waiting
        waiting.labels("connection").set_function(lambda: sum(pool.waiting for pool in pools))
        waiting.labels("account").set_function(lambda: self.linearizer.waiting)
