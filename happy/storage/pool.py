"""Connections to PostgreSQL: how one is made, and a bounded number of them to share."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ConnectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection as TxConnection
from txpostgres.txpostgres import Cursor as TxCursor

from happy.errors import NUL_IN_TEXT, ConnectionLost, QueryFailed
from happy.storage.dsn import Target
from happy.storage.types import register_casts

CONNECTION_OK = 0
"""libpq's word for a connection in good order."""

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP, TLS and authentication together; libpq applies its own only to blocking connections."""

LARGE_STATEMENT = 4 * 1024 * 1024
"""Bytes of a statement after which a connection is not kept, since the driver would keep as much."""

SESSION = {
    "TimeZone": "UTC",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    # Lists are short pieces of what an index has in order. The planner, which may know only what a table
    # held yesterday, must not take it for cheaper to read and sort everything that there is.
    "random_page_cost": "1.1",
    "enable_bitmapscan": "off",
}


T = TypeVar("T")


class Cursor(TxCursor):  # type: ignore[misc]
    """A txpostgres cursor that leaves PostgreSQL's own cancellations what they are."""

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure


class Connection(TxConnection):  # type: ignore[misc]
    """A txpostgres connection that notices quietly when an idle session ends.

    ``name`` is unique to it and is its application name on the server, by which its session can be
    found after it was lost.
    """

    name = ""
    swollen = False
    """Whether the driver's buffers have become large. They never shrink."""
    cursorFactory = Cursor

    def continuePolling(self, swallowErrors: bool = False) -> None:
        # An idle session's end has nobody to report to; `usable` tells it to the next borrower.
        super().continuePolling(swallowErrors=True)

    @property
    def alive(self) -> bool:
        """Whether the session can still be used; psycopg2 alone notices some ends only at the next query."""
        raw = self.pollable()
        return not raw.closed and raw.info.status == CONNECTION_OK

    def doRead(self) -> None:
        """Go on with connecting, or take in what an idle session hears: notifications, or its end."""
        self.reactor.removeReader(self)
        if not self.pollable().closed:
            self.continuePolling()
        self._watch()

    def cursorFinished(self, cursor: Any) -> None:
        """A statement is done: the session is idle again, or it has ended."""
        self._cursors.remove(cursor)
        self._watch()

    def _watch(self) -> None:
        if self.alive:
            self.reactor.addReader(self)
            self.checkForNotifies()

    def close(self) -> None:
        """Close it, if there is anything to close: a connection that could not begin has nothing."""
        if self.pollable() is not None:
            super().close()


class Connector:
    """Opens connections to one target, each with its own name and the session settings above."""

    def __init__(self, target: Target, reactor: Any, settings: dict[str, str] | None = None) -> None:
        self._target = target
        self._reactor = reactor
        self._settings = {**SESSION, **(settings or {}), "search_path": _quoted(target.schema)}
        self._process = secrets.token_hex(4)
        self._numbers = count(1)

    async def open(self) -> Connection:
        """A new connection. Raises ConnectionLost when there is none to be had."""
        connection = Connection(self._reactor)
        connection.name = f"happy {self._process}-{next(self._numbers)}"
        try:
            conninfo = await self._conninfo(connection.name)
            await self._bounded(connection, connection.connect(conninfo))
        except (psycopg2.Error, ConnectionDone) as error:
            connection.close()
            raise ConnectionLost(getattr(error, "pgcode", None), _first_line(error)) from None
        register_casts(connection.pollable())
        return connection

    async def _conninfo(self, name: str) -> str:
        parameters = {"application_name": name, "client_encoding": "UTF8", **await self._addresses()}
        if not self._target.pooled:
            given = self._target.parameters.get("options", "")
            parameters["options"] = " ".join([given, *map(_option, self._settings.items())]).strip()
        return self._target.conninfo(**parameters)

    async def _addresses(self) -> dict[str, str]:
        """Parameters that name the server by address; libpq alone would look it up in this thread."""
        host = self._target.parameters.get("host", "")
        if not host or "," in host or host.startswith(("/", "@")) or "hostaddr" in self._target.parameters:
            return {}
        find = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        try:
            found = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), find)
        except (OSError, UnicodeError) as error:
            raise ConnectionLost(None, f"{host}: {error}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return {"host": ",".join([host] * len(addresses)), "hostaddr": ",".join(addresses)}

    def _bounded(self, connection: Connection, connecting: Deferred[Any]) -> Deferred[Any]:
        timer = self._reactor.callLater(CONNECT_TIMEOUT, connection.close)
        connecting = _abandonable(connection, connecting)

        def settled(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return connecting.addBoth(settled)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _option(setting: tuple[str, str]) -> str:
    name, value = setting
    escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-c {name}={escaped}"


def _abandonable(connection: Connection, outcome: Deferred[T]) -> Deferred[T]:
    """The outcome, for a caller that may be cancelled; the session, in the middle of something, ends then.

    txpostgres would ask the server to cancel it, in a way that blocks, and wait for the outcome.
    """
    abandoned = False

    def abandon(_: Deferred[T]) -> None:
        nonlocal abandoned
        abandoned = True
        connection.close()

    def settled(result: T | Failure) -> None:
        if not abandoned:
            waiting.callback(result)

    waiting: Deferred[T] = Deferred(abandon)
    outcome.addBoth(settled)
    return waiting


def usable(connection: Connection) -> bool:
    """Whether the next borrower finds a live session outside any transaction."""
    return connection.alive and connection.info.transaction_status == TRANSACTION_STATUS_IDLE


async def execute(connection: Connection, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
    """Run one statement; answers the psycopg2 cursor with its result.

    Raises QueryFailed, or ConnectionLost when the session is gone; their texts hold no values. A caller
    that is cancelled ends the session.
    """
    try:
        cursor = connection.cursor()
        await _abandonable(connection, cursor.execute(sql, params or None))
    except (psycopg2.Error, ConnectionDone) as error:
        explained = explain(error, lost=not connection.alive)
    except ValueError:  # what the driver says of a text with U+0000, before the server can
        explained = QueryFailed(NUL_IN_TEXT)
    else:
        if len(cursor.query) > LARGE_STATEMENT:
            connection.swollen = True
        return cursor
    try:
        raise explained
    finally:
        del explained  # The traceback has this frame, and the parameters with it.


def explain(error: Exception, lost: bool = False) -> QueryFailed:
    """A driver's error without the values it quotes; ``lost`` tells that the connection is closed."""
    sqlstate = getattr(error, "pgcode", None)
    unsaid = sqlstate is None and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    if lost or unsaid:
        return ConnectionLost(sqlstate)
    diagnostics = getattr(error, "diag", None)
    return QueryFailed(sqlstate, getattr(diagnostics, "constraint_name", None))


class Pool:
    """At most ``size`` connections, opened when first needed, handed out to one borrower at a time."""

    def __init__(self, open_: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._open = open_
        self._slots = DeferredSemaphore(size)
        self._idle: list[Connection] = []
        self._closed = False

    async def borrow(self) -> Connection:
        """A usable connection, to be given back with :meth:`give_back`. Raises ConnectionLost."""
        await self._slots.acquire()
        try:
            return self._idle_one() or await self._fresh_one()
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """End a loan; a connection that is closed, swollen or inside a transaction is thrown away."""
        if not self._closed and not connection.swollen and usable(connection):
            self._idle.append(connection)
        else:
            connection.close()
        self._slots.release()

    @property
    def idle(self) -> int:
        """Open connections nobody uses."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Connections on loan, or being opened for a borrower."""
        return self._slots.limit - self._slots.tokens

    @property
    def waiting(self) -> int:
        """Borrowers in the queue."""
        return len(self._slots.waiting)

    def close(self) -> None:
        """Close idle connections now, and borrowed ones when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if usable(connection):
                return connection
            connection.close()
        return None

    async def _fresh_one(self) -> Connection:
        if self._closed:
            raise ConnectionLost(None)
        return await self._open()
