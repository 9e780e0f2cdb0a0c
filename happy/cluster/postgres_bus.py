"""The bus by PostgreSQL's LISTEN and NOTIFY, for a few nodes that have no Redis.

One connection does it all. What is published in a turn of the reactor goes out in one statement, and never in
a transaction that writes: a commit that notifies takes a lock of the whole server.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.errors import ConnectionLost, StartupError
from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.cluster.bus import NODES, BusLost, BusOwner, is_account, is_node
from happy.cluster.notices import NoticeReader, NoticeWriter, bytes_of
from happy.storage.connection import Connection, execute
from happy.storage.dsn import parse_target
from happy.storage.pool import Connector

START_ATTEMPTS: Final = 5
"""How often a start tries to listen; the database itself is reached by then."""

MOST_WAITING: Final = 32 * 1024 * 1024
"""Bytes that may wait to be sent. With more than that, PostgreSQL is as good as gone."""

STEADY_SECONDS: Final = 5.0
"""How long it has to be up so that the next attempt is as soon as the first. All nodes ask each other for
everything whenever one is back, so one that comes and goes must not do so ever faster."""

THROUGH_A_POOLER: Final = (
    "bus: nodes cannot hear each other through a PgBouncer; set REDIS_URL, or connect directly"
)

_AT_ONCE: Final = 1024 * 1024
"""Bytes after which a statement takes no further message."""
_OVERHEAD: Final = 512
"""Bytes that a message on its way takes besides its payload."""
_CONNECT_SECONDS: Final = 5.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_MOST_DOUBLINGS: Final = 5

_NOTIFY = "SELECT pg_notify(channel, notice) FROM unnest(%s::text[], %s::text[]) AS said (channel, notice)"
_NAMED = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s
"""


class _Message(NamedTuple):
    """What is on its way, in the notices that it takes."""

    listened: str
    notices: list[str]
    size: int
    sent: Deferred[int | None]


class _HearingConnection(Connection):
    """A connection that hands notices on at once and in their order."""

    hear: Callable[[int, str], None]

    def checkForNotifies(self) -> None:
        """Hand on what has come."""
        notices, self.pollable().notifies = self.pollable().notifies, []
        for notice in notices:
            self.hear(notice.pid, notice.payload)


class PostgresBus:
    """A :class:`~happy.cluster.bus.Bus`.

    ``service`` keeps services apart that share a database, ``version`` the versions of what is said within
    one. Of accounts every node hears everything, and drops what it has not subscribed to. How many hear
    something is unknown, but for a node's own channel: its connection has its name.
    """

    largest = 6000
    """A notice has less than 8,000 bytes; what is larger takes several."""

    _log = Logger()

    def __init__(self, reactor: Any, dsn: str, *, service: str, version: int) -> None:
        self._reactor = reactor
        self._target = parse_target(dsn)
        self._nodes = f"{service}:{NODES}"
        self._prefix = f"{service}:{version}"
        settings = {"synchronous_commit": "off"}
        self._connector = Connector(self._target, reactor, settings, _HearingConnection)
        self._owner: BusOwner | None = None
        self._up = self._connected = False
        self._up_since = 0.0
        self._wanted: dict[str, None] = {}
        self._unlistened: dict[str, None] = {}
        self._questions: list[tuple[str, Deferred[int | None]]] = []
        self._messages: list[_Message] = []
        self._waiting = 0
        self._failures = 0
        self._writer = NoticeWriter()
        self._reader = NoticeReader()
        self._needed: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._serving: Deferred[None] | None = None
        self._starting: Deferred[None] | None = None
        self._trouble = Trouble(self._log, "listening to PostgreSQL", reactor)
        self._hearing = Trouble(self._log, "acting on what another node says", reactor)

    @property
    def up(self) -> bool:
        """Its connection listens to all that was wanted when it was made."""
        return self._up

    # -- start and stop ------------------------------------------------------------------------

    def start(self, owner: BusOwner) -> Deferred[None]:
        """Connect and listen; fires when it is up. Fails with StartupError where that cannot be."""
        if self._target.pooled:
            return fail(StartupError(THROUGH_A_POOLER))
        self._owner = owner
        self._starting = starting = Deferred[None](lambda _: self._end())
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_cancelled)
        return starting

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        ended: Deferred[None] = Deferred()
        self._end()
        if self._running is None:
            ended.callback(None)
        else:
            self._running.addCallback(lambda _: ended.callback(None))
        return ended

    def _end(self) -> None:
        self._owner = self._starting = None
        self._cancel(self._running)

    def _cancel(self, work: Deferred[None] | None) -> None:
        """End it soon: whoever wants that may have been called by it."""
        if work is not None:
            self._reactor.callLater(0, work.cancel)

    # -- what a bus does -----------------------------------------------------------------------

    def publish(self, channel: str, payload: bytes) -> Deferred[int | None]:
        """See :meth:`Bus.publish`; how many hear it is unknown."""
        if not self._up:
            return fail(BusLost())
        size = len(payload) + _OVERHEAD
        if self._waiting + size > MOST_WAITING:
            self._trouble.again("it takes nothing any more")
            self._reactor.callLater(0, self.cut)
            return fail(BusLost())
        sent: Deferred[int | None] = Deferred()
        notices = self._writer.write(channel, payload)
        self._messages.append(_Message(self._listened(channel), notices, size, sent))
        self._waiting += size
        self._go_on()
        return sent

    def say(
        self, channel: str, payload: bytes, out: Callable[[int | None], object], lost: Callable[[], object]
    ) -> None:
        """See :meth:`Bus.say`."""
        self.publish(channel, payload).addCallbacks(out, lambda failure: lost())

    def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to channels. Those of accounts are all one to PostgreSQL, and heard already."""
        for channel in channels:
            self._wanted[channel] = None
            if self._connected:
                self._unlistened[channel] = None
        self._go_on()

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Listen to them no longer; PostgreSQL is not told."""
        for channel in channels:
            self._wanted.pop(channel, None)

    def subscribers(self, channel: str) -> Deferred[int | None]:
        """How many connections are a node's, by its channel; unknown for other channels."""
        if not self._up:
            return fail(BusLost())
        answer: Deferred[int | None] = Deferred()
        self._questions.append((channel, answer))
        self._go_on()
        return answer

    def cut(self) -> None:
        """Drop the connection; another one is made by itself."""
        self._down()
        self._cancel(self._serving)

    def _listened(self, channel: str) -> str:
        """PostgreSQL's channel for one of ours."""
        if channel == NODES:
            return self._nodes
        return self._prefix if is_account(channel) else f"{self._prefix}:{channel}"

    # -- the connection ------------------------------------------------------------------------

    async def _run(self) -> None:
        """Have a connection, one after the other."""
        while self._owner is not None:
            self._serving = Deferred.fromCoroutine(self._serve())
            try:
                await self._serving
            except CancelledError:
                if self._owner is None:
                    raise
            except Exception as error:
                self._failed(error)
            longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures, _MOST_DOUBLINGS), _LONGEST_PAUSE)
            await deferLater(self._reactor, longest * random.uniform(0.5, 1.0))

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if isinstance(error, StartupError):
            self._give_up(error)
            self._trouble.again(str(error))
            return
        if isinstance(error, ConnectionLost):
            why = error.reason or "its session has ended"
        else:
            why = describe_fault(error)
        self._trouble.again(why)
        if self._failures == START_ATTEMPTS:
            self._give_up(StartupError(f"bus: PostgreSQL cannot be listened to: {why}"))

    def _give_up(self, reason: StartupError) -> None:
        """End the start, if it is one."""
        if self._starting is not None:
            starting, self._owner, self._starting = self._starting, None, None
            starting.errback(reason)

    async def _serve(self) -> None:
        """One connection, until it breaks. Raises what came of it."""
        connection = await self._connector.open(_CONNECT_SECONDS)
        connection.hear = self._hear
        try:
            if self._connector.pooled:
                raise StartupError(THROUGH_A_POOLER)
            self._reader = NoticeReader()
            self._connected = True
            self._unlistened = dict(self._wanted)
            await self._listen(connection)
            self._come_up()
            while True:
                await self._say_all(connection)
                self._needed = Deferred()
                await self._needed
        finally:
            self._needed = None
            self._connected = False
            self._unlistened.clear()
            connection.close()
            self._down()

    async def _say_all(self, connection: Connection) -> None:
        """One statement after the other, until there is nothing to say."""
        while self._unlistened or self._messages or self._questions:
            if self._unlistened:
                await self._listen(connection)
            if self._messages:
                await self._notify(connection)
            if self._questions:
                await self._ask(connection)

    async def _listen(self, connection: Connection) -> None:
        channels, self._unlistened = list(self._unlistened), {}
        listened = dict.fromkeys([self._prefix, *map(self._listened, channels)])
        statements = [f'LISTEN "{name}"' for name in listened]
        statements += [f"SET application_name = '{self._named(one)}'" for one in channels if is_node(one)]
        await execute(connection, ";".join(statements))
        for channel in channels:
            if channel in self._wanted and self._owner is not None:
                self._owner.confirmed(channel)

    async def _notify(self, connection: Connection) -> None:
        """What has gathered meanwhile, or as much of it as one statement takes."""
        size, batch = 0, []
        for message in self._messages:
            batch.append(message)
            size += message.size
            if size > _AT_ONCE:
                break
        names = [message.listened for message in batch for _ in message.notices]
        notices = [notice for message in batch for notice in message.notices]
        await execute(connection, _NOTIFY, (names, notices))
        if self._messages[: len(batch)] == batch:  # and it was not cut meanwhile
            del self._messages[: len(batch)]
            self._waiting -= size
            for message in batch:
                message.sent.callback(None)

    async def _ask(self, connection: Connection) -> None:
        channel, answer = self._questions[0]
        found: int | None = None
        if is_node(channel):
            (found,) = (await execute(connection, _NAMED, (self._named(channel),))).fetchone()
        if not answer.called:  # since it was cut meanwhile
            del self._questions[0]
            answer.callback(found)

    def _named(self, channel: str) -> str:
        """What the connection of a node is called, by its channel."""
        return f"{self._prefix}:{channel}"

    def _go_on(self) -> None:
        """There is something to say; what comes in this turn goes together."""
        needed, self._needed = self._needed, None
        if needed is not None:
            self._reactor.callLater(0, _fire, needed)

    def _hear(self, sender: int, notice: str) -> None:
        try:
            message = self._reader.read(sender, notice)
            if message is not None and message[0] in self._wanted and self._owner is not None:
                self._owner.heard(message[0], bytes_of(message[1]))
        except Exception as error:  # of the owner, or of somebody else's notices
            self._hearing.again(describe_fault(error))

    # -- up and down ---------------------------------------------------------------------------

    def _come_up(self) -> None:
        if self._owner is None:
            return
        self._up = True
        self._up_since = self._reactor.seconds()
        self._trouble.over()
        self._owner.back()
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.callback(None)

    def _down(self) -> None:
        was_up, self._up = self._up, False
        if was_up:
            steady = self._reactor.seconds() - self._up_since >= STEADY_SECONDS
            self._failures = 0 if steady else self._failures + 1
        if was_up and self._owner is not None:
            self._owner.lost()
        messages, self._messages, self._waiting = self._messages, [], 0
        questions, self._questions = self._questions, []
        for unanswered in (*(one.sent for one in messages), *(answer for _, answer in questions)):
            unanswered.errback(BusLost())


def _cancelled(failure: Failure) -> None:
    """That it was is how it is meant to end."""
    failure.trap(CancelledError)


def _fire(needed: Deferred[None]) -> None:
    if not needed.called:
        needed.callback(None)
