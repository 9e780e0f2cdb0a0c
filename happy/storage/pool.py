"""Connections to PostgreSQL: how one is made."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NoReturn, TypeVar

import psycopg2
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.errors import ConnectionLost
from happy.storage.connection import Connection, Deadlines, execute
from happy.storage.dsn import DatabaseTarget
from happy.storage.refusals import is_hopeless, reason_of, wants_no_options
from happy.storage.session import SESSION, SETTINGS_HOLD, as_options, as_statements, quoted
from happy.storage.types import register_casts

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP, TLS and authentication together; libpq applies its own only to blocking connections."""

T = TypeVar("T")


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
        except (psycopg2.Error, ConnectionDone, OSError) as error:
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
