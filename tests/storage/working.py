"""Work for transactions to do in tests, and what is known of its effects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from happy.storage.database import Database
from happy.storage.transaction import Transaction
from happy.storage.types import Millis
from tests.harness import psql

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


def end_sessions(dsn: str) -> None:
    """End every other session of the database."""
    psql(
        dsn,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
