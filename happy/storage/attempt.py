"""One attempt at a transaction, from BEGIN to a COMMIT whose outcome is known."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from twisted.internet.task import deferLater

from happy.base.errors import ConnectionLost, OutcomeUnknown, QueryFailed
from happy.storage.calls import Call
from happy.storage.connection import STATEMENT_SECONDS, Connection, execute, usable
from happy.storage.log import NOTE, note_parameters
from happy.storage.outcome import MARK_COMMIT, mark, took_effect
from happy.storage.pieces import any_large
from happy.storage.pool import Connector
from happy.storage.transaction import Noting, Transaction, last_numbers, noted

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]

LOCK_ACCOUNTS = """
SELECT "id", "seq" FROM "Account" WHERE "id" = ANY(%s::text[]) ORDER BY "id" FOR NO KEY UPDATE
"""
"""Every writer that takes numbers of an account locks its row first, the original server too: so commits are
in the order of the numbers. Accounts are locked in ascending order: no two wait for each other."""

BRIEFLY = "SET LOCAL lock_timeout = '500ms';"
"""For whoever holds one account while it waits for another."""

TAKE_NUMBERS = """
UPDATE "Account" SET "seq" = "seq" + "Taken"."count", "updatedAt" = %s
  FROM unnest(%s::text[], %s::integer[]) AS "Taken"("account", "count")
 WHERE "Account"."id" = "Taken"."account"
"""
"""The last statement before COMMIT: what rolls back takes no numbers, and leaves clients no gap to find."""

LEAST_SECONDS: Final = 1.0
"""What a statement may take even when the time of its call is over."""

_PAUSE = 0.5
"""Seconds between two looks at what became of a commit."""


class MoreAccounts(Exception):
    """The work published to accounts that were not locked first."""

    def __init__(self, accounts: Iterable[str]) -> None:
        super().__init__()
        self.accounts = frozenset(accounts)


class Attempts:
    """Runs transactions, and finds out what became of those whose connection was lost during COMMIT."""

    def __init__(self, clock: Any, connector: Connector, noting: Noting | None = None) -> None:
        """``noting`` makes rows of the log of what is published, where there is a log."""
        self._clock = clock
        self._connector = connector
        self._noting = noting
        self._count = 0
        self._stopping = False

    def stop(self) -> None:
        """Wait for PostgreSQL no longer."""
        self._stopping = True

    async def run(
        self, call: Call, connection: Connection, tx: Transaction, work: Work[T], accounts: frozenset[str]
    ) -> tuple[T, Mapping[str, int]]:
        """One attempt from BEGIN to COMMIT; answers the result and the accounts' last numbers before it.

        Raises what the work raises, MoreAccounts, QueryFailed, and ConnectionLost when it is certain that
        the transaction had no effect.
        """
        connection.limit = statement_limit(call)
        try:
            locked = await _lock(tx, accounts)
            result = await work(tx)
            numbers = await _complete(tx, accounts, locked)
            notes = await self._note(tx, numbers)
        except Exception:
            await roll_back(connection)
            raise
        if tx.begun:
            await self._commit(call, connection, tx, notes)
        return result, numbers

    async def _note(self, tx: Transaction, numbers: Mapping[str, int]) -> list[Any]:
        """The parameters of NOTE for what is published; nothing if it is written by now, or not to be."""
        if self._noting is None or not numbers:
            return []
        parameters = note_parameters(noted(tx, numbers, self._noting), tx.now)
        if any_large(parameters):
            await tx.run(NOTE, parameters)
            return []
        return parameters

    async def _commit(self, call: Call, connection: Connection, tx: Transaction, notes: list[Any]) -> None:
        """Note what is told, take the numbers, mark the attempt and commit, all in one round trip."""
        self._count += 1
        attempt = self._count
        sql, parameters = _closing(tx, connection.name, attempt)
        if notes:
            sql, parameters = f"{NOTE};{sql}", notes + parameters
        try:
            await execute(connection, sql, parameters)
        except ConnectionLost:
            if not await self._committed(call, connection.name, attempt):
                raise
        except QueryFailed:
            await roll_back(connection)
            raise

    async def _committed(self, call: Call, writer: str, attempt: int) -> bool:
        """Whether an attempt took effect whose connection was lost during COMMIT; waits for the server.

        The caller does not, when that takes longer than it may; the accounts stay held.
        """
        unknown = OutcomeUnknown("PostgreSQL cannot tell whether a commit took effect")
        timer = self._clock.callLater(max(call.left, LEAST_SECONDS), call.leave, unknown)
        try:
            while not self._stopping:
                try:
                    return await took_effect(self._connector, writer, attempt)
                except ConnectionLost:
                    await deferLater(self._clock, _PAUSE * random.uniform(0.5, 1.0))
        finally:
            if timer.active():
                timer.cancel()
        raise unknown


def statement_limit(call: Call) -> float:
    """How many seconds a statement of a call may take, so that the call ends in time."""
    return min(STATEMENT_SECONDS, max(call.left, LEAST_SECONDS))


async def read_within(seconds: float, connection: Connection, work: Awaitable[T]) -> T:
    """Work that reads, in a transaction whose statements may take so long."""
    await execute(connection, f"BEGIN READ ONLY;SET LOCAL statement_timeout = {round(seconds * 1000)}")
    try:
        result = await work
        await execute(connection, "COMMIT")
    except Exception:
        await roll_back(connection)
        raise
    return result


async def roll_back(connection: Connection) -> None:
    """End the transaction; a connection on which that fails is not usable and will be thrown away."""
    if not connection.alive or usable(connection):
        return
    try:
        await execute(connection, "ROLLBACK")
    except QueryFailed:
        connection.close()


async def _lock(tx: Transaction, accounts: Iterable[str]) -> dict[str, int]:
    """Lock the rows of accounts; answers the numbers that those which exist have reached."""
    wanted = sorted(accounts)
    if not wanted:
        return {}
    patience = BRIEFLY if len(wanted) > 1 else ""
    return dict(await tx.rows(patience + LOCK_ACCOUNTS, (wanted,)))


async def _complete(tx: Transaction, accounts: frozenset[str], locked: dict[str, int]) -> dict[str, int]:
    """The last numbers of the accounts published to, among them those that the work itself made."""
    published = tx.published()
    if not published.keys() <= accounts:
        raise MoreAccounts(published)
    made = await _lock(tx, published.keys() - locked.keys())
    return last_numbers(tx, locked | made)


def _closing(tx: Transaction, writer: str, attempt: int) -> tuple[str, list[Any]]:
    published = tx.published()
    marked = mark(writer, attempt, tx.now)
    if not published:
        return f"{MARK_COMMIT};COMMIT", marked
    numbers = [tx.now, list(published), list(published.values())]
    return f"{TAKE_NUMBERS};{MARK_COMMIT};COMMIT", numbers + marked
