"""Connections to PostgreSQL: how one is made, and what may be asked of it until when."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NoReturn, TypeVar

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection as TxConnection
from txpostgres.txpostgres import Cursor as TxCursor

from happy.base.errors import NUL_IN_TEXT, ConnectionLost, QueryFailed
from happy.storage.dsn import DatabaseTarget
from happy.storage.refusals import is_hopeless, reason_of, wants_no_options
from happy.storage.session import SESSION, SETTINGS_HOLD, as_options, as_statements, quoted, with_settings
from happy.storage.types import register_casts

CONNECTION_OK = 0
"""libpq's word for a connection in good order."""

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP, TLS and authentication together; libpq applies its own only to blocking connections."""

LARGE_STATEMENT = 4 * 1024 * 1024
"""Bytes of a statement after which a connection is not kept, since the driver would keep as much."""
STATEMENT_SECONDS: Final = 10.0
"""How long PostgreSQL may take to answer a statement; after that it is not there."""

DISK_FULL: Final = "53100"

T = TypeVar("T")


class Cursor(TxCursor):  # type: ignore[misc]
    """A txpostgres cursor that leaves PostgreSQL's own cancellations what they are."""

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure


class Deadlines:
    """Ends statements that have no answer in time, together with their connections.

    One timer serves all of them: a statement is over long before one of its own would be. It runs while
    there are statements, and at most until the last connection is closed.
    """

    GRAIN: Final = 0.25
    """Seconds by which the end may be late."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._open: set[Connection] = set()
        self._running: dict[Connection, tuple[float, Deferred[Any]]] = {}
        self._timer: Any = None

    def begin(self, connection: Connection, running: Deferred[Any]) -> None:
        """A statement is on its way; it may take as long as its connection says."""
        self._running[connection] = self._clock.seconds() + connection.limit, running
        if self._timer is None:
            self._timer = self._clock.callLater(self.GRAIN, self._look)

    def end(self, connection: Connection) -> None:
        """The answer is there."""
        self._running.pop(connection, None)

    def opened(self, connection: Connection) -> None:
        """There is one more connection."""
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if not self._open and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._clock.seconds()
        self._timer = self._clock.callLater(self.GRAIN, self._look) if self._running else None
        for connection, (deadline, running) in list(self._running.items()):
            if deadline <= now:
                connection.silent = True
                running.cancel()


class Connection(TxConnection):  # type: ignore[misc]
    """A txpostgres connection that notices quietly when an idle session ends.

    ``name`` is unique to it and is its application name on the server, by which its session can be
    found after it was lost. ``limit`` is how many seconds a statement may take; ``silent`` tells that one
    took longer. ``settings`` are statements that each transaction begins with, where the session cannot have
    them.
    """

    name = ""
    settings = ""
    limit = STATEMENT_SECONDS
    silent = False
    swollen = False
    """Whether the driver's buffers have become large. They never shrink."""
    deadlines: Deadlines
    found_no_room: Callable[[], None]
    """Is told that PostgreSQL could not write for want of room on its disk."""
    cursorFactory = Cursor

    async def run(self, sql: str, params: Sequence[Any] | Mapping[str, Any] | None) -> Any:
        """Run one statement; answers the psycopg2 cursor. Raises what the driver raises.

        The connection ends when the answer does not come within its ``limit``, or the caller is cancelled.
        """
        if self.settings and self.info.transaction_status == TRANSACTION_STATUS_IDLE:
            sql = with_settings(self.settings, sql, params)
        cursor = self.cursor()
        # The driver closes the socket of a session that has ended, in the middle of sending: if the reactor
        # watched it then, it would take the next one of that number, whosever it is, for one that it watches.
        self.reactor.removeReader(self)
        running = _abandonable(self, cursor.execute(sql, params))
        self.deadlines.begin(self, running)
        try:
            await running
        except CancelledError:
            if not self.silent:
                raise
            raise psycopg2.OperationalError("it does not answer") from None
        except (psycopg2.Error, ValueError):
            # What could not even be sent has no cursor that would hand the session back.
            self._watch()
            raise
        finally:
            self.deadlines.end(self)
        if len(cursor.query) > LARGE_STATEMENT:
            self.swollen = True
        return cursor

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
        self.deadlines.closed(self)


class Connector:
    """Opens connections to one target, of one ``kind``, each with its own name and the settings above.

    A pooler hands its sessions from one client to the next with each transaction: where one refuses the
    settings, or drops them in silence, each transaction makes them for itself.
    """

    _log = Logger()

    def __init__(
        self,
        target: DatabaseTarget,
        reactor: Any,
        settings: dict[str, str] | None = None,
        kind: type[Connection] = Connection,
    ) -> None:
        self._target = target
        self._reactor = reactor
        self._kind = kind
        self._settings = {**SESSION, **(settings or {}), "search_path": quoted(target.schema)}
        self._process = secrets.token_hex(4)
        self._numbers = count(1)
        self._deadlines = Deadlines(reactor)
        self._found: list[Deferred[dict[str, str]]] | None = None
        self.pooled = target.pooled
        self._examined = target.pooled
        self.full_at: float | None = None
        """When PostgreSQL last had no room on its disk, on the reactor's clock."""

    def _note_full(self) -> None:
        self.full_at = self._reactor.seconds()

    async def open(self, patience: float = CONNECT_TIMEOUT) -> Connection:
        """A new connection, within so many seconds. Raises ConnectionLost when there is none to be had."""
        try:
            connection = await self._open(patience)
        except ConnectionLost as lost:
            if self.pooled or not wants_no_options(lost.reason):
                raise
            self._expect_a_pooler()
            connection = await self._open(patience)
        if not self._examined:
            await self._examine(connection)
        if self.pooled:
            connection.settings = as_statements(self._settings)
        return connection

    def _expect_a_pooler(self) -> None:
        self.pooled = self._examined = True
        self._log.info("A pooler keeps no settings of sessions; each transaction makes them")

    async def _examine(self, connection: Connection) -> None:
        """Find out, once, whether the session has its settings: a pooler may be told to drop them."""
        try:
            cursor = await execute(connection, SETTINGS_HOLD, (self._settings["random_page_cost"],))
        except BaseException:
            connection.close()
            raise
        self._examined = True
        if cursor.fetchone() != (True,):
            self._expect_a_pooler()

    async def _open(self, patience: float) -> Connection:
        connection = self._kind(self._reactor)
        connection.name = f"happy {self._process}-{next(self._numbers)}"
        connection.deadlines = self._deadlines
        connection.found_no_room = self._note_full
        self._deadlines.opened(connection)
        try:
            addresses = await self._addresses().addTimeout(patience, self._reactor)
            conninfo = self._conninfo(connection.name, addresses)
            await self._bounded(connection, connection.connect(conninfo), patience)
        except TimeoutError:
            connection.close()
            raise ConnectionLost(None, "the host name was not looked up in time") from None
        except (psycopg2.Error, ConnectionDone) as error:
            connection.close()
            reason = reason_of(error)
            raise ConnectionLost(
                getattr(error, "pgcode", None), reason, hopeless=is_hopeless(reason)
            ) from None
        except BaseException:
            connection.close()
            raise
        register_casts(connection.pollable())
        return connection

    def _conninfo(self, name: str, addresses: Mapping[str, str]) -> str:
        parameters = {"application_name": name, "client_encoding": "UTF8", **addresses}
        if not self.pooled:
            given = self._target.parameters.get("options", "")
            parameters["options"] = f"{given} {as_options(self._settings)}".strip()
        return self._target.conninfo(**parameters)

    def _addresses(self) -> Deferred[dict[str, str]]:
        """Parameters that name the server by address; libpq alone would look it up in this thread.

        However many ask, one thread does: a resolver that hangs must not take all of them.
        """
        host = self._target.parameters.get("host", "")
        if not host or "," in host or host.startswith(("/", "@")) or "hostaddr" in self._target.parameters:
            return succeed({})
        answer: Deferred[dict[str, str]] = Deferred()
        if self._found is not None:
            self._found.append(answer)
            return answer
        self._found = [answer]
        find = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        looking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), find)
        looking.addCallback(_named, host).addErrback(_not_found, host).addBoth(self._tell)
        return answer

    def _tell(self, outcome: dict[str, str] | Failure) -> None:
        waiting, self._found = self._found or [], None
        for one in waiting:
            one.callback(outcome)

    def _bounded(self, connection: Connection, connecting: Deferred[Any], patience: float) -> Deferred[Any]:
        timer = self._reactor.callLater(patience, connection.close)
        connecting = _abandonable(connection, connecting)

        def settled(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return connecting.addBoth(settled)


def _named(found: Sequence[Any], host: str) -> dict[str, str]:
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return {"host": ",".join([host] * len(addresses)), "hostaddr": ",".join(addresses)}


def _not_found(failure: Failure, host: str) -> NoReturn:
    failure.trap(OSError, UnicodeError)
    reason = getattr(failure.value, "strerror", None) or "it is no host name"
    raise ConnectionLost(None, f"{host}: {reason}") from None


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
        if isinstance(result, Failure):
            # What is refused at once is so in the frames of who asked, and these will have the failure.
            result.tb = None
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
        return await connection.run(sql, params or None)
    except (psycopg2.Error, ConnectionDone) as error:
        explained = explain(error, lost=not connection.alive)
        if explained.sqlstate == DISK_FULL:
            connection.found_no_room()
        error.__traceback__ = None  # As below: who waited for it may have it.
    except ValueError as error:  # what the driver says of a text with U+0000, before the server can
        explained = QueryFailed(NUL_IN_TEXT)
        error.__traceback__ = None
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
