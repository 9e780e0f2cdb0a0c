"""A session on PostgreSQL, and the statements that it runs, one at a time, until when."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg2
from psycopg2.extensions import POLL_ERROR, POLL_OK, POLL_WRITE, TRANSACTION_STATUS_IDLE
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection as TxConnection

from happy.base.coroutines import Outcome
from happy.base.errors import NUL_IN_TEXT, ConnectionLost, QueryFailed
from happy.storage.session import with_settings

CONNECTION_OK = 0
"""libpq's word for a connection in good order."""

LARGE_STATEMENT = 4 * 1024 * 1024
"""Bytes of a statement after which a connection is not kept, since the driver would keep as much."""
STATEMENT_SECONDS: Final = 10.0
"""How long PostgreSQL may take to answer a statement; after that it is not there."""

DISK_FULL: Final = "53100"

_OVER: Final = (POLL_OK, POLL_ERROR)
"""States in which nothing is waited for."""

_ENDED: Final = -1
"""What the reactor watches of a session that has ended."""


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
        self._timer: Any = None

    def begin(self, connection: Connection) -> None:
        """A statement is on its way; it may take as long as its connection says."""
        connection.due = self._clock.seconds() + connection.limit
        if self._timer is None:
            self._timer = self._clock.callLater(self.GRAIN, self._look)

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
        running = [(connection, connection.due) for connection in self._open if connection.due is not None]
        self._timer = self._clock.callLater(self.GRAIN, self._look) if running else None
        for connection, due in running:
            if due <= now:
                connection.expire()


class Connection(TxConnection):  # type: ignore[misc]
    """A connection that txpostgres makes, and that is then watched until it ends, whatever it does.

    ``name`` is unique to it and is its application name on the server, by which its session can be
    found after it was lost. ``limit`` is how many seconds a statement may take, and ``due`` when the one
    under way has to be answered. ``settings`` are statements that each transaction begins with, where the
    session cannot have them.
    """

    name = ""
    settings = ""
    limit = STATEMENT_SECONDS
    due: float | None = None
    swollen = False
    """Whether the driver's buffers have become large. They never shrink."""
    deadlines: Deadlines
    found_no_room: Callable[[], None]
    """Is told that PostgreSQL could not write for want of room on its disk."""
    _descriptor: int | None = None
    """What the reactor watches, once it is connected."""
    _sending = False
    """Whether a statement is too large to be sent at once."""
    _answer: Outcome[Any] | None = None
    _under_way: Any = None
    """The driver's cursor, of which the driver itself only knows as long as we do."""

    def connect(self, conninfo: str) -> Deferred[Any]:
        """Connect. Fails with what the driver raises, and OSError."""
        connecting: Deferred[Any] = super().connect(conninfo)
        return connecting.addCallback(self._connected)

    def _connected(self, _: object) -> None:
        # The driver closes the socket of a session that has ended, in the middle of sending: of that number
        # the reactor would take the next one, whosever it is, for one that it watches.
        self.reactor.removeReader(self)
        self._descriptor = os.dup(self.pollable().fileno())
        self.reactor.addReader(self)

    def run(self, sql: str, params: Sequence[Any] | Mapping[str, Any] | None) -> Deferred[Any]:
        """Run one statement. Fires with the psycopg2 cursor, or fails with what the driver raises.

        What the driver does not even send it raises. The connection ends when the answer does not come
        within its ``limit``, or the caller is cancelled.
        """
        raw = self.pollable()
        if self.settings and raw.info.transaction_status == TRANSACTION_STATUS_IDLE:
            sql = with_settings(self.settings, sql, params)
        cursor = raw.cursor()
        try:
            cursor.execute(sql, params)
        except psycopg2.Error:
            self._look_after()
            raise
        if len(cursor.query) > LARGE_STATEMENT:
            self.swollen = True
        self.deadlines.begin(self)
        answer: Outcome[Any] = Outcome(self._abandoned)
        self._under_way, self._answer = cursor, answer
        self._go_on()
        return answer

    def expire(self) -> None:
        """The statement under way takes too long: fail it, and end the session, which is not usable then."""
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None:
            answer.settle(Failure(psycopg2.OperationalError("it does not answer")))

    def _abandoned(self, _: Deferred[Any]) -> None:
        # In the middle of a statement. To ask the server to cancel it would block.
        self._answer = None
        self.close()

    def _go_on(self) -> None:
        """Send more, or take in what is there: of an answer, notifications, or the end of the session."""
        outcome = self._under_way
        try:
            state = self.pollable().poll()
        except Exception as error:
            # What is refused at once is so in the frames of who asked, and these will have the failure.
            state, outcome = POLL_ERROR, Failure(error.with_traceback(None))
        if self._sending is not (state == POLL_WRITE):
            self._sending = not self._sending
            self._watch()
        if state == POLL_ERROR:
            self._look_after()
        if state in _OVER:
            if self._descriptor != _ENDED:
                self.checkForNotifies()
            # An idle session's end has nobody to report to; `usable` tells it to the next borrower.
            self._settle(outcome)

    def _settle(self, outcome: Any) -> None:
        answer, self._answer = self._answer, None
        self._under_way = self.due = None
        if answer is not None:
            answer.settle(outcome)

    @property
    def alive(self) -> bool:
        """Whether the session can still be used; psycopg2 alone notices some ends only at the next query."""
        raw = self.pollable()
        return not raw.closed and raw.info.status == CONNECTION_OK

    # -- what the reactor does with it ---------------------------------------------------------------

    def fileno(self) -> int:
        """The number by which the reactor knows it."""
        return super().fileno() if self._descriptor is None else self._descriptor

    def doRead(self) -> None:
        """Something is there to be taken in."""
        if self._descriptor is None:
            # Not as TxConnection has it, which would watch for something to read while it has to write.
            super(TxConnection, self).doRead()
        else:
            self._go_on()

    def doWrite(self) -> None:
        """There is room for more to be sent."""
        if self._descriptor is None:
            super().doWrite()
        else:
            self._go_on()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw the session end, and watches it no longer; the driver is to find out why."""
        if self._descriptor is None:
            super().connectionLost(reason)
        elif self._descriptor != _ENDED:
            self._go_on()
            self._watch()

    def _watch(self) -> None:
        if self._descriptor == _ENDED:
            return
        if self._sending:
            # What comes meanwhile the driver does not take in: the reactor would tell of it again and again.
            self.reactor.removeReader(self)
            self.reactor.addWriter(self)
        else:
            self.reactor.removeWriter(self)
            self.reactor.addReader(self)

    def _look_after(self) -> None:
        """After a failure: a session that has ended is watched no longer."""
        if not self.alive:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._descriptor is None or self._descriptor == _ENDED:
            return
        self.reactor.removeReader(self)
        self.reactor.removeWriter(self)
        descriptor, self._descriptor = self._descriptor, _ENDED
        os.close(descriptor)

    def close(self) -> None:
        """Close it, if there is anything to close: a connection that could not begin has nothing."""
        if self._descriptor is not None:
            self._unwatch()
            self.pollable().close()
            self._settle(Failure(ConnectionDone()))
        elif self.pollable() is not None:
            super().close()
        self.deadlines.closed(self)


def usable(connection: Connection) -> bool:
    """Whether the next borrower finds a live session outside any transaction."""
    raw = connection.pollable()
    return not raw.closed and raw.get_transaction_status() == TRANSACTION_STATUS_IDLE


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
