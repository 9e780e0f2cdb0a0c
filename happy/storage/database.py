"""Transactions with retries, and publication in commit order (decisions 3 and 4, realtime.md D-1)."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.errors import ConnectionLost, DatabaseDown, OutcomeUnknown, Overloaded, QueryFailed
from happy.faults import describe_fault
from happy.storage.append import forget_writers
from happy.storage.dsn import parse_target
from happy.storage.linearizer import Linearizer, Release
from happy.storage.outcome import MARK_COMMIT, forget_old_marks, mark, took_effect
from happy.storage.pool import Connection, Connector, Pool, execute, usable
from happy.storage.shield import shield
from happy.storage.transaction import Publisher, Transaction, deliver, last_numbers
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.clocks import Now
    from happy.metrics import Metrics

__all__ = ["Database", "Millis", "Transaction"]

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]

LOCK_ACCOUNTS = """
SELECT "id", "seq" FROM "Account" WHERE "id" = ANY(%s::text[]) ORDER BY "id" FOR NO KEY UPDATE
"""

TAKE_NUMBERS = """
UPDATE "Account" SET "seq" = "seq" + "Taken"."count", "updatedAt" = %s
  FROM unnest(%s::text[], %s::integer[]) AS "Taken"("account", "count")
 WHERE "Account"."id" = "Taken"."account"
"""

SERIALIZATION_FAILURE = "40001"
DEADLOCK = "40P01"

_MAX_CONFLICTS = 6
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


class _MoreAccounts(Exception):
    """The work published to accounts that were not locked first."""

    def __init__(self, accounts: Iterable[str]) -> None:
        super().__init__()
        self.accounts = frozenset(accounts)


class Database:
    """A pool of connections, and the two ways to use it: :meth:`transact` and :meth:`read`.

    ``clock`` is the reactor: deadlines, and the connections' descriptors. ``now`` tells the times that are
    stored. ``publisher`` receives what transactions publish. ``size`` connections are shared; one more is
    for work that must not wait behind everybody else's. ``patience`` is how many seconds a call waits for
    PostgreSQL to come back, or for its turn on an account, and ``backlog`` how many calls may be under way
    at a time.
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
        metrics: Metrics | None = None,
        patience: float = 10.0,
        backlog: int = 2000,
    ) -> None:
        self._target = parse_target(dsn)
        self.connector = Connector(self._target, clock)
        self.linearizer = Linearizer()
        limit = self._target.limit or size + 1
        self.pool = Pool(self.connector.open, max(limit - 1, 1))
        self._reserved = Pool(self.connector.open, 1) if limit > 1 else self.pool
        self._clock = clock
        self._now = now
        self._publisher = publisher
        self._patience = patience
        self._backlog = backlog
        self._attempts = 0
        self._busy = 0
        self._stopping = False
        self._drained: Deferred[None] | None = None
        self._metrics = metrics
        if metrics is not None:
            self._show(metrics)

    async def start(self) -> None:
        """Check that the database answers; it must have been migrated. Raises DatabaseDown."""
        for name in self._target.ignored:
            self._log.info("DATABASE_URL: {name} has no meaning here and is ignored", name=name)
        connection = await self.connect()
        tx = Transaction(connection, self.now())
        await forget_old_marks(tx)
        await forget_writers(tx)
        await execute(connection, "COMMIT")
        connection.close()

    async def stop(self) -> None:
        """Refuse new work, wait for what is under way, close every connection.

        Work that waits for PostgreSQL to come back fails now.
        """
        self._stopping = True
        if self._busy:
            self._drained = Deferred()
            await self._drained
        self.pool.close()
        self._reserved.close()

    async def connect(self, patience: float | None = None) -> Connection:
        """A connection of one's own, outside the pool; the caller closes it.

        Tries for ``patience`` seconds, the database's own by default. Raises DatabaseDown.
        """
        return await self._patiently(self.connector.open, patience)

    async def ping(self) -> None:
        """One round trip. Raises DatabaseDown and Overloaded."""
        await self.read(lambda tx: tx.row("SELECT 1"))

    def now(self) -> Millis:
        """The wall clock's time in epoch milliseconds."""
        return Millis(self._now() * 1000)

    async def read(self, work: Work[T]) -> T:
        """Run statements that only read, without a transaction around them.

        Each sees what was committed when it began. The work is repeated when its connection is lost.
        Raises DatabaseDown and Overloaded.
        """
        return await shield(self._counted(self._patiently(partial(self._alone, work, self.pool))))

    async def apply(self, work: Work[T]) -> T:
        """Run statements that commit by themselves, once.

        They have a connection of their own and no backlog: the caller sees to it that there is one such
        call at a time, and that nobody else holds its accounts. Raises QueryFailed and Overloaded. After
        ConnectionLost a statement may have taken effect: the caller knows how to find out.
        """
        return await self._counted(self._alone(work, self._reserved), bounded=False)

    async def transact(self, work: Work[T], *, accounts: Sequence[str] = ()) -> T:
        """Run work in a transaction that holds the rows of ``accounts``, then publish what it left.

        The work may run several times: after a deadlock, a lost connection, or when it published to
        an account that was not named (which is then held too). Its outbox is numbered last before
        COMMIT, and delivered in order before anyone else can hold those accounts. A caller that is
        cancelled drops the result, never the work.

        Raises what the work raises, after a rollback; AccountVanished when it published to an account
        without a row; DatabaseDown and Overloaded, when nothing was changed.
        """
        return await shield(self._counted(self._in_order(work, frozenset(accounts))))

    async def _counted(self, work: Coroutine[Deferred[Any], Any, T], *, bounded: bool = True) -> T:
        if self._stopping or (bounded and self._busy >= self._backlog):
            work.close()
            raise Overloaded
        self._busy += 1
        try:
            return await work
        finally:
            self._busy -= 1
            if self._drained is not None and not self._busy:
                self._drained.callback(None)

    async def _in_order(self, work: Work[T], accounts: frozenset[str]) -> T:
        while True:
            release = await self._turn(accounts)
            try:
                return await self._patiently(partial(self._attempt, work, accounts))
            except _MoreAccounts as more:
                accounts |= more.accounts
            finally:
                release()

    async def _turn(self, accounts: frozenset[str]) -> Release:
        if (release := self.linearizer.try_acquire(accounts)) is not None:
            return release
        turn = Deferred.fromCoroutine(self.linearizer.acquire(accounts))
        try:
            return await turn.addTimeout(self._patience, self._clock)
        except TimeoutError:
            raise Overloaded from None

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        """Repeat an attempt while that helps: conflicts a few times, a lost server for ``patience``."""
        deadline = self._clock.seconds() + (self._patience if patience is None else patience)
        conflicts, pause = 0, _FIRST_PAUSE
        while True:
            try:
                return await attempt()
            except ConnectionLost as lost:
                if self._stopping or self._clock.seconds() + pause > deadline:
                    raise DatabaseDown(f"no connection to PostgreSQL: {lost.reason or 'it broke'}") from None
                reason = "connection"
            except QueryFailed as refused:
                conflicts += 1
                if refused.sqlstate not in (SERIALIZATION_FAILURE, DEADLOCK) or conflicts == _MAX_CONFLICTS:
                    raise
                reason = "conflict"
            if self._metrics is not None:
                self._metrics.happy_transaction_retries_total.labels(reason).inc()
            await self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _alone(self, work: Work[T], pool: Pool) -> T:
        """One attempt at work whose statements are a transaction each."""
        connection = await pool.borrow()
        try:
            tx = Transaction(connection, self.now(), reading=True)
            result = await work(tx)
        finally:
            pool.give_back(connection)
        self._release(tx, {})
        return result

    async def _attempt(self, work: Work[T], accounts: frozenset[str]) -> T:
        connection = await self.pool.borrow()
        try:
            tx = Transaction(connection, self.now())
            result, numbers = await self._run(connection, tx, work, accounts)
        finally:
            self.pool.give_back(connection)
        self._release(tx, numbers)
        return result

    async def _run(
        self, connection: Connection, tx: Transaction, work: Work[T], accounts: frozenset[str]
    ) -> tuple[T, Mapping[str, int]]:
        """One attempt from BEGIN to COMMIT; answers the result and the accounts' last numbers before it."""
        try:
            locked = await _lock(tx, accounts)
            result = await work(tx)
            numbers = await _complete(tx, accounts, locked)
        except Exception:
            await _roll_back(connection)
            raise
        if tx.begun:
            await self._commit(connection, tx)
        return result, numbers

    async def _commit(self, connection: Connection, tx: Transaction) -> None:
        """Take the numbers, mark the attempt and commit, all in one round trip.

        Raises ConnectionLost only when the transaction is certain to have had no effect.
        """
        self._attempts += 1
        attempt = self._attempts
        try:
            await execute(connection, *_closing(tx, connection.name, attempt))
        except ConnectionLost:
            if not await self._committed(connection.name, attempt):
                raise
        except QueryFailed:
            await _roll_back(connection)
            raise

    async def _committed(self, writer: str, attempt: int) -> bool:
        """Whether an attempt took effect whose connection was lost during COMMIT; waits for the server."""
        while not self._stopping:
            try:
                return await took_effect(self.connector, writer, attempt)
            except ConnectionLost:
                await self._pause(_LONGEST_PAUSE)
        raise OutcomeUnknown("stopped before PostgreSQL could tell whether a commit took effect")

    def _release(self, tx: Transaction, numbers: Mapping[str, int]) -> None:
        """Deliver the outbox; what fails there cannot undo the commit, so it is logged."""
        steps: list[Callable[[], None]] = [partial(deliver, tx, numbers, self._publisher), *tx.callbacks]
        for step in steps:
            try:
                step()
            except Exception as error:
                self._log.error("what follows a commit failed: {fault}", fault=describe_fault(error))

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._clock, seconds * random.uniform(0.5, 1.0))

    def _show(self, metrics: Metrics) -> None:
        connections = metrics.happy_database_connections
        connections.labels("idle").set_function(lambda: self.pool.idle)
        connections.labels("busy").set_function(lambda: self.pool.busy)
        metrics.happy_database_waiting.set_function(lambda: self.pool.waiting)


async def _lock(tx: Transaction, accounts: Iterable[str]) -> dict[str, int]:
    """Lock the rows of accounts; answers the numbers that those which exist have reached."""
    wanted = sorted(accounts)
    return dict(await tx.rows(LOCK_ACCOUNTS, (wanted,))) if wanted else {}


async def _complete(tx: Transaction, accounts: frozenset[str], locked: dict[str, int]) -> dict[str, int]:
    """The last numbers of the accounts published to, among them those that the work itself made."""
    published = tx.published()
    if not published.keys() <= accounts:
        raise _MoreAccounts(published)
    made = await _lock(tx, published.keys() - locked.keys())
    return last_numbers(tx, locked | made)


def _closing(tx: Transaction, writer: str, attempt: int) -> tuple[str, list[Any]]:
    published = tx.published()
    marked = mark(writer, attempt, tx.now)
    if not published:
        return f"{MARK_COMMIT};COMMIT", marked
    numbers = [tx.now, list(published), list(published.values())]
    return f"{TAKE_NUMBERS};{MARK_COMMIT};COMMIT", numbers + marked


async def _roll_back(connection: Connection) -> None:
    """End the transaction; a connection on which that fails is not usable and will be thrown away."""
    if not connection.alive or usable(connection):
        return
    try:
        await execute(connection, "ROLLBACK")
    except QueryFailed:
        connection.close()
