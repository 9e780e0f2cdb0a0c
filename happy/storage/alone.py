"""One server for each database, unless several know of each other: advisory locks that end with a session.

A lock has two numbers: the first stands for the schema, the second is 0 for being there at all, or stands for
the bus by which nodes know of each other. A server without a bus holds the 0 alone; nodes share it, and each
holds its bus's number too, so that a node of another bus is seen.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.base.errors import DatabaseDown, QueryFailed, StartupError
from happy.base.rounds import Rounds
from happy.base.trouble import Trouble
from happy.storage.connection import Connection, execute

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from happy.storage.transaction import Transaction

PATIENCE: Final = 3.0
"""Seconds that a server may still take to leave: another program may have been told to start at once."""
_STEP = 0.25
_ROUND = 5.0

# A session whose host is gone must not keep its lock for the two hours that a system waits by default.
_SETTINGS = """
SELECT set_config("name", "wanted", false) FROM pg_settings JOIN (VALUES
    ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '10000'), ('idle_session_timeout', '0')
) AS "given" ("name", "wanted") USING ("name")
"""

TAKE = """
SELECT pg_try_advisory_lock(%(schema)s, 0)
"""

SHARE = """
SELECT pg_try_advisory_lock_shared(%(schema)s, 0) AND pg_try_advisory_lock_shared(%(schema)s, %(bus)s)
"""

OTHERS = """
SELECT coalesce(host("client_addr"), ''), (extract(epoch FROM "backend_start") * 1000)::bigint,
       "application_name"
FROM pg_locks JOIN pg_stat_activity USING ("pid")
WHERE "locktype" = 'advisory' AND "objsubid" = 2 AND "granted" AND "pid" <> pg_backend_pid()
  AND pg_locks."database" = (SELECT "oid" FROM pg_database WHERE "datname" = current_database())
  AND "classid"::bigint = %(schema)s::bigint & 4294967295
  AND (%(bus)s::integer = 0 OR "mode" = 'ExclusiveLock'
       OR "objid"::bigint NOT IN (0, %(bus)s::bigint & 4294967295))
ORDER BY 2 LIMIT 1
"""


class Alone:
    """Holds the lock for as long as the server runs, on a connection of its own.

    ``connect`` opens one, ``schema`` is the schema with the tables, ``bus`` names what connects this node
    with others, if anything does. A lock that is lost with its connection is taken again; when another server
    was faster, that is said in the log for as long as it lasts.
    """

    _log = Logger()

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], clock: Any, schema: str, bus: str | None = None
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._keys = lock_keys(schema, bus)
        self._connection: Connection | None = None
        self._stopped = False
        self._trouble = Trouble(self._log, "being the only server of the database", clock)
        self._rounds = Rounds("holding the database", self._hold, clock, seconds=_ROUND, patience=4 * _ROUND)

    async def start(self, patience: float = PATIENCE) -> None:
        """Take the lock. Raises StartupError when another server has it and keeps it so many seconds."""
        try:
            other = await self._patiently(self._clock.seconds() + patience)
        except (QueryFailed, DatabaseDown) as failed:
            self._leave()
            raise StartupError(f"DATABASE_URL: {failed}") from None
        if other is not None:
            self._leave()
            raise StartupError(
                f"DATABASE_URL: another server uses this database ({other}) and does not know of this one; "
                "stop it, or give each a database or a schema of its own"
            )
        self._rounds.start()

    async def _patiently(self, deadline: float) -> str | None:
        while (other := await self._try()) is not None and self._clock.seconds() < deadline:
            await deferLater(self._clock, _STEP)
        return other

    def stop(self) -> None:
        """Let go of it, and do not take it again."""
        self._stopped = True
        self._rounds.stop()
        self._leave()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _try(self) -> str | None:
        """None with the lock; otherwise a few words about who has it. Raises QueryFailed and DatabaseDown."""
        if self._connection is None:
            connection = await self._connect()
            if self._stopped:
                connection.close()
                raise DatabaseDown("the server stops")
            self._connection = connection
            await execute(connection, _SETTINGS)
        return await claim(self._connection, self._keys)

    async def _hold(self) -> None:
        """See to it that the connection is there, and the lock with it."""
        try:
            if self._connection is not None and self._connection.alive:
                await execute(self._connection, "SELECT 1")
                return
            self._leave()
            other = await self._try()
        except (QueryFailed, DatabaseDown):  # which those say who need the database
            self._leave()
            return
        if other is None:
            self._trouble.over()
        else:
            self._leave()
            self._trouble.again(f"another one uses it ({other})")


async def users(tx: Transaction, keys: dict[str, int]) -> list[str]:
    """A few words about a server that has the database, if one does; ``keys`` are without a bus."""
    found = await tx.rows(OTHERS, keys)
    return [_described([row]) for row in found]


def lock_keys(schema: str, bus: str | None) -> dict[str, int]:
    """The numbers of the locks; ``bus`` is 0 without one."""
    return {
        "schema": _signed(crc32(f"happy {schema}".encode())),
        "bus": 0 if bus is None else _signed(crc32(bus.encode()) or 1),
    }


def _signed(number: int) -> int:
    """A number of 32 bits as PostgreSQL writes it."""
    return number - (1 << 32) if number >= 1 << 31 else number


async def claim(connection: Connection, keys: dict[str, int]) -> str | None:
    """Take the lock for the session; None with it, otherwise a few words about who has it."""
    ((taken,),) = (await execute(connection, SHARE if keys["bus"] else TAKE, keys)).fetchall()
    if taken and not keys["bus"]:
        return None
    others = (await execute(connection, OTHERS, keys)).fetchall()
    return None if taken and not others else _described(others)


def _described(others: Sequence[tuple[Any, ...]]) -> str:
    for address, since, program in others:
        started = datetime.fromtimestamp(since / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        where = f"from {address}" if address else "on the same machine"
        who = "" if program.startswith("happy ") else f"{program} "  # as sessions of servers are called
        return f"{who}{where}, since {started} UTC"
    return "which this role may not see"
