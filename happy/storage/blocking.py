"""The database for programs without a reactor: each statement is done when its call returns.

What the other modules offer for a transaction works here too: coroutines that wait for nothing else end
at once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import quote_ident
from twisted.internet.defer import Deferred, fail, succeed

from happy.base.errors import ConnectionLost
from happy.storage.dsn import DatabaseTarget, parse_target
from happy.storage.refusals import is_hopeless, reason_of, wants_no_options
from happy.storage.transaction import Transaction
from happy.storage.types import register_casts

T = TypeVar("T")

CONNECT_SECONDS = 10

BEGIN = "BEGIN; SET LOCAL TimeZone = 'UTC'; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s';"
"""Settings of the transaction, not of the session, which behind a pooler would be another one's next."""


class BlockingConnection:
    """A connection that :func:`happy.storage.pool.execute` can use."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.limit = 0.0

    @property
    def alive(self) -> bool:
        """Whether the session is there."""
        return not self._raw.closed

    def pollable(self) -> Any:
        """The driver's own connection."""
        return self._raw

    def run(self, sql: str, params: Any = None) -> Deferred[Any]:
        """The psycopg2 cursor of a statement that has run, or what the driver raised."""
        cursor = self._raw.cursor()
        try:
            cursor.execute(sql, params)
        except Exception:
            return fail()
        return succeed(cursor)

    def close(self) -> None:
        """End the session."""
        self._raw.close()


def connect(dsn: str, name: str) -> BlockingConnection:
    """Connect to a database as ``name``. Raises ConnectionLost, and StartupError for what is no URL."""
    target = parse_target(dsn)
    more = {"application_name": name, "client_encoding": "UTF8", "connect_timeout": str(CONNECT_SECONDS)}
    try:
        raw = _connected(target, more)
    except ConnectionLost as lost:
        if not wants_no_options(lost.reason):
            raise
        raw = _connected(target, {**more, "options": ""})
    raw.autocommit = True
    register_casts(raw)
    return BlockingConnection(raw)


def _connected(target: DatabaseTarget, parameters: dict[str, str]) -> Any:
    """The driver's connection. Raises ConnectionLost."""
    try:
        return psycopg2.connect(target.conninfo(**parameters))
    except psycopg2.Error as error:
        reason = reason_of(error)
        raise ConnectionLost(error.pgcode, reason, hopeless=is_hopeless(reason)) from None


class BlockingDatabase:
    """Transactions on one connection, for whoever has the time to wait."""

    def __init__(self, dsn: str, name: str, now: Callable[[], float] = time.time) -> None:
        self.dsn = dsn
        self.connection = connect(dsn, name)
        self._now = now
        schema = quote_ident(parse_target(dsn).schema, self.connection.pollable())
        self._opening = f"{BEGIN} SET LOCAL search_path = {schema};"

    def transact(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Do the work in a transaction, and commit it. Raises what the work raises, and QueryFailed.

        The work waits for nothing but its transaction, and publishes nothing.
        """
        tx = Transaction(
            self.connection,  # type: ignore[arg-type]
            int(self._now() * 1000),
            opening=self._opening,
        )
        try:
            result = finished(work(tx))
            if tx.begun:
                finished(_end(tx, "COMMIT"))
        except BaseException:
            if tx.begun and self.connection.alive:
                finished(_end(tx, "ROLLBACK"))
            raise
        return result

    def close(self) -> None:
        """End the session."""
        self.connection.close()


@contextmanager
def opened(dsn: str, name: str) -> Iterator[BlockingDatabase]:
    """A database that is left afterwards. Raises as :func:`connect` does."""
    database = BlockingDatabase(dsn, name)
    try:
        yield database
    finally:
        database.close()


async def _end(tx: Transaction, how: str) -> None:
    await tx.rows(how)


def finished(work: Awaitable[T]) -> T:
    """What came of work that waits for nothing that is not there. Raises what it raised."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(results.append, failures.append)  # type: ignore[arg-type]
    if failures:
        failures[0].raiseException()
    (result,) = results
    return result  # type: ignore[no-any-return]
