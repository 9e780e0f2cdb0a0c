"""Transactions with retries, and publication in commit order (decisions 3 and 4, realtime.md D-1)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.errors import ConnectionLost, DatabaseDown, OutcomeUnknown, Overloaded, QueryFailed
from happy.storage.dsn import parse_target
from happy.storage.linearizer import Linearizer
from happy.storage.outcome import MARK_COMMIT, forget_old_marks, mark, took_effect
from happy.storage.pool import Connection, Connector, Pool, execute, usable
from happy.storage.shield import shield
from happy.storage.transaction import Publisher, Transaction, check_present, deliver
from happy.storage.types import Millis

__all__ = ["Database", "Millis", "Transaction"]

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]

LOCK_ACCOUNTS = """
SELECT "id", "seq" FROM "Account" WHERE "id" = ANY(%s) ORDER BY "id" FOR NO KEY UPDATE
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

    def __init__(self, accounts: frozenset[str]) -> None:
        super().__init__()
        self.accounts = accounts


class Database:
    """A pool of connections, and the two ways to use it: :meth:`transact` and :meth:`read`.

    ``publisher`` receives what transactions publish. ``patience`` is how many seconds a call waits for
    PostgreSQL to come back before it fails with DatabaseDown, ``backlog`` how many calls may be under
    way at a time before further ones fail with Overloaded.
    """

    _log = Logger()

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 6,
        clock: IReactorTime,
        publisher: Publisher,
        metrics: Any = None,
        patience: float = 10.0,
        backlog: int = 2000,
    ) -> None:
        self.linearizer = Linearizer()
        self._target = parse_target(dsn)
        self._clock = clock
        self._publisher = publisher
        self._patience = patience
        self._backlog = backlog
        self._busy = 0
        self._drained: Deferred[None] | None = None
        self._stopping = False
        self.connector = Connector(self._target, clock)
        self._pool = Pool(self.connector.open, self._target.limit or size)
        self._attempts = 0

    async def start(self) -> None:
        """Check that the database answers; it must have been migrated. Raises DatabaseDown."""
        for name in self._target.ignored:
            self._log.info("DATABASE_URL: {name} has no meaning here and is ignored", name=name)
        await self._counted(self._patiently(self._first_use))

    async def stop(self) -> None:
        """Refuse new work, wait for what is under way, close every connection."""
        self._stopping = True
        if self._busy:
            self._drained = Deferred()
            await self._drained
        self._pool.close()

    async def connect(self, patience: float | None = None) -> Connection:
        """A connection of one's own, outside the pool; the caller closes it.

        Tries for ``patience`` seconds, the database's own by default. Raises DatabaseDown.
        """
        return await self._patiently(self.connector.open, patience)

    async def ping(self) -> None:
        """One round trip. Raises DatabaseDown."""
        await self.read(lambda tx: tx.row("SELECT 1"))

    def now(self) -> Millis:
        """The clock's time in epoch milliseconds."""
        return Millis(self._clock.seconds() * 1000)

    async def read(self, work: Work[T]) -> T:
        """Run statements that only read, without a transaction around them.

        Each sees what was committed when it began. The work is repeated when its connection is lost.
        Raises DatabaseDown and Overloaded.
        """
        return await shield(self._counted(self._patiently(lambda: self._read_once(work))))

    async def transact(self, work: Work[T], *, accounts: Sequence[str] = ()) -> T:
        """Run work in a transaction that holds the rows of ``accounts``, then publish what it left.

        The work may run several times: after a deadlock, a lost connection, or when it published to
        an account that was not named (which is then held too). Its outbox is numbered last before
        COMMIT, and delivered in order before anyone else can hold those accounts. A caller that is
        cancelled drops the result, never the work.

        Raises what the work raises, after a rollback; AccountVanished when it published to an account
        without a row; DatabaseDown and Overloaded.
        """
        return await shield(self._counted(self._in_order(work, frozenset(accounts))))

    async def _counted(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        if self._stopping or self._busy >= self._backlog:
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
            release = await self.linearizer.acquire(accounts)
            try:
                return await self._patiently(partial(self._attempt, work, accounts))
            except _MoreAccounts as more:
                accounts |= more.accounts
            finally:
                release()

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
            except QueryFailed as refused:
                conflicts += 1
                if refused.sqlstate not in (SERIALIZATION_FAILURE, DEADLOCK) or conflicts == _MAX_CONFLICTS:
                    raise
            await self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _first_use(self) -> None:
        connection = await self._pool.borrow()
        try:
            await forget_old_marks(connection, self.now())
        finally:
            self._pool.give_back(connection)

    async def _read_once(self, work: Work[T]) -> T:
        connection = await self._pool.borrow()
        try:
            tx = Transaction(connection, self.now(), reading=True)
            result = await work(tx)
        finally:
            self._pool.give_back(connection)
        self._release(tx, {})
        return result

    async def _attempt(self, work: Work[T], accounts: frozenset[str]) -> T:
        connection = await self._pool.borrow()
        try:
            tx = Transaction(connection, self.now())
            result, seqs = await self._guarded(connection, tx, work, accounts)
        finally:
            self._pool.give_back(connection)
        self._release(tx, seqs)
        return result

    async def _guarded(
        self, connection: Connection, tx: Transaction, work: Work[T], accounts: frozenset[str]
    ) -> tuple[T, Mapping[str, int]]:
        try:
            seqs = await self._begin(connection, accounts)
            result = await work(tx)
            seqs = await self._complete(connection, tx, accounts, seqs)
        except Exception:
            await _roll_back(connection)
            raise
        await self._commit(connection, tx)
        return result, seqs

    async def _begin(self, connection: Connection, accounts: frozenset[str]) -> dict[str, int]:
        """Open the transaction and lock the accounts; answers the numbers they have reached."""
        if not accounts:
            await execute(connection, "BEGIN")
            return {}
        return await _locked(connection, "BEGIN;" + LOCK_ACCOUNTS, accounts)

    async def _complete(
        self, connection: Connection, tx: Transaction, accounts: frozenset[str], seqs: dict[str, int]
    ) -> dict[str, int]:
        """The numbers of every account published to; those created by the work itself are new here."""
        published = tx.published()
        if not published.keys() <= accounts:
            raise _MoreAccounts(frozenset(published))
        if created := published.keys() - seqs.keys():
            seqs = seqs | await _locked(connection, LOCK_ACCOUNTS, created)
        check_present(published, seqs)
        return seqs

    async def _commit(self, connection: Connection, tx: Transaction) -> None:
        """Take the numbers, mark the attempt and commit, all in one round trip.

        Raises ConnectionLost only when the transaction is certain to have had no effect.
        """
        self._attempts += 1
        attempt = self._attempts
        sql, params = _closing(tx, connection.name, attempt)
        try:
            cursor = await execute(connection, sql, params)
        except ConnectionLost:
            if not await self._committed(connection.name, attempt):
                raise
        except QueryFailed:
            await _roll_back(connection)
            raise
        else:
            if cursor.statusmessage != "COMMIT":
                raise RuntimeError("the work went on after a statement had failed; nothing was committed")

    async def _committed(self, writer: str, attempt: int) -> bool:
        """Whether an attempt took effect whose connection was lost during COMMIT; waits for the server."""
        while not self._stopping:
            try:
                return await took_effect(self.connector, writer, attempt)
            except ConnectionLost:
                await self._pause(_LONGEST_PAUSE)
        raise OutcomeUnknown("stopped before PostgreSQL could tell whether a commit took effect")

    def _release(self, tx: Transaction, seqs: Mapping[str, int]) -> None:
        """Deliver the outbox; what fails there cannot undo the commit, so it is logged."""
        try:
            deliver(tx, seqs, self._publisher)
        except Exception:
            self._log.failure("publishing a committed change failed")
        for callback in tx.callbacks:
            try:
                callback()
            except Exception:
                self._log.failure("a callback after a commit failed")

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._clock, seconds * random.uniform(0.5, 1.0))


async def _locked(connection: Connection, sql: str, accounts: Iterable[str]) -> dict[str, int]:
    cursor = await execute(connection, sql, (sorted(accounts),))
    return dict(cursor.fetchall())


def _closing(tx: Transaction, writer: str, attempt: int) -> tuple[str, list[Any]]:
    published = tx.published()
    marked = mark(writer, attempt, tx.now)
    if not published:
        return f"{MARK_COMMIT};COMMIT", marked
    numbers = [tx.now, list(published), list(published.values())]
    return f"{TAKE_NUMBERS};{MARK_COMMIT};COMMIT", numbers + marked


async def _roll_back(connection: Connection) -> None:
    """End the transaction; a connection on which that fails is not usable and will be thrown away."""
    if connection.closed or usable(connection):
        return
    try:
        await execute(connection, "ROLLBACK")
    except QueryFailed:
        connection.close()
