"""The two connections of a bus to Redis: one to publish and ask, one to listen.

A connection greets before it is used: it logs in, says who it is, and tries what it will be needed for, so
that a wrong password or a missing right is found when it is made. One that cannot greet is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from hiredis import ProtocolError, Reader, ReplyError, pack_command
from OpenSSL.SSL import Error as TLSError
from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.waiting import within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.cluster.redis_url import RedisTarget

GREETING_SECONDS: Final = 3.0
"""Seconds for a greeting. What is slower than that is no bus."""

NO_REDIS: Final = "it does not answer as Redis does"

_REFUSALS: Final = {
    "NOAUTH": "it wants a password",
    "WRONGPASS": "it does not take the user and password",
    "NOPERM": "the user may not do what is needed; docs/several-nodes.md has its rights",
}


class ConnectionOwner(Protocol):
    """Whom a connection tells what happens."""

    def ready(self, connection: Any) -> None:
        """It has greeted."""

    def gone(self, connection: Any) -> None:
        """It had greeted, and is no more."""

    def failed(self, why: str) -> None:
        """It could not greet, or was cut for a reason; another one may do better."""

    def refused(self, why: str) -> None:
        """Redis will not let anybody in who comes like this."""

    def heard_on(self, channel: bytes, payload: bytes) -> None:
        """A message."""

    def confirmed_on(self, channel: bytes) -> None:
        """A subscription, or its end."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a connection says first. ``trial`` is a channel that it tries out what it needs on."""

    target: RedisTarget
    name: str
    trial: bytes


class RedisRefused(Exception):
    """Redis does not let us in, and will not; the text says why, for the operator."""


class _Connection(protocol.Protocol):
    """What both connections have in common: commands go out, and their replies come in the same order."""

    transport: Any
    owner: ConnectionOwner
    greeting: Greeting
    clock: IReactorTime
    hasten: Callable[[Any], None]
    greeted = False
    _why = "it does not answer in time"
    _cut = _lost = False

    _log = Logger()

    def __init__(self) -> None:
        self._reader = Reader()
        self._unanswered: deque[Callable[[Any], object]] = deque()

    def connectionMade(self) -> None:
        """Greet."""
        if not self.greeting.target.path:
            self.transport.setTcpKeepAlive(True)
            self.transport.setTcpNoDelay(True)
        self.hasten(self.transport)
        said = within(GREETING_SECONDS, Deferred.fromCoroutine(self._greet()), self.clock)
        said.addCallbacks(self._ready_now, self._failed)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Whatever waits for an answer fails."""
        self._lost = True
        self._why = _broken(reason)
        if self.greeted:
            self.owner.gone(self)
        unanswered, self._unanswered = self._unanswered, deque()
        for answered in unanswered:
            self._answer(answered, reason)

    def dataReceived(self, data: bytes) -> None:
        """Take replies; what does not speak the protocol of Redis is cut."""
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False and not self._cut:
                self.replied(reply)
        except ProtocolError:
            self.abort(NO_REDIS)

    def replied(self, reply: Any) -> None:
        """The oldest command has its reply."""
        if not self._unanswered:
            self.abort(NO_REDIS)
            return
        self._answer(self._unanswered.popleft(), reply)

    def _answer(self, answered: Callable[[Any], object], reply: Any) -> None:
        try:
            answered(reply)
        except Exception:
            # A fault of ours must not cost others their replies.
            self._log.failure("Acting on a reply of Redis failed")

    def ask(self, *command: str | bytes) -> Deferred[Any]:
        """Send a command; fires with its reply. Fails with ReplyError, and when the connection breaks."""
        answer: Deferred[Any] = Deferred()

        def answered(reply: Any) -> None:
            if isinstance(reply, ReplyError | Failure):
                answer.errback(reply)
            else:
                answer.callback(reply)

        self.send(answered, *command)
        return answer

    def send(self, answered: Callable[[Any], object], *command: str | bytes) -> None:
        """Send a command, and call ``answered`` with its reply: a ReplyError if Redis refuses, a Failure if
        the connection breaks."""
        if self._lost:
            self._answer(answered, Failure(ConnectionLost()))
            return
        self._unanswered.append(answered)
        self.transport.write(pack_command(command))  # type: ignore[arg-type]

    def abort(self, why: str) -> None:
        """Cut the connection; the first reason counts."""
        if not self._cut:
            self._cut = True
            self.owner.failed(why)
            self.transport.abortConnection()

    async def try_out(self) -> None:
        """Do what the connection is for. Raises ReplyError if that is not allowed."""
        raise NotImplementedError

    async def _greet(self) -> None:
        target = self.greeting.target
        try:
            if target.password is not None:
                await self._login(*([target.user] if target.user else []), target.password)
            await self.ask("CLIENT", "SETNAME", self.greeting.name)
            await self.try_out()
        except ReplyError as error:
            code = error_code(error)
            if code in _REFUSALS:
                raise RedisRefused(_REFUSALS[code]) from None
            self._why = f"it answers {code}"
            raise

    async def _login(self, *credentials: str) -> None:
        try:
            await self.ask("AUTH", *credentials)
        except ReplyError as error:
            if error_code(error) == "ERR":  # before Redis 6, or where there is no password
                raise RedisRefused(_REFUSALS["WRONGPASS"]) from None
            raise

    def _ready_now(self, _: None) -> None:
        self.greeted = True
        self.owner.ready(self)

    def _failed(self, failure: Failure) -> None:
        if failure.check(RedisRefused):
            self._why = str(failure.value)
            self.owner.refused(self._why)
        if not failure.check(CancelledError):
            self.abort(self._why)


class Speaking(_Connection):
    """The connection that publishes and asks.

    ``whole`` tells that Redis is one server: in a cluster of them each counts only its own subscribers.
    """

    whole = True

    async def try_out(self) -> None:
        """Ask what will be asked."""
        self.whole = b"cluster_enabled:1" not in await self.ask("INFO", "cluster")
        if self.whole and b"role:slave" in await self.ask("INFO", "replication"):
            raise RedisRefused("it is a replica, and what is published there the others do not hear")
        await self.ask("PUBLISH", self.greeting.trial, b"")
        await self.ask("PUBSUB", "NUMSUB", self.greeting.trial)


class Listening(_Connection):
    """The connection that listens."""

    async def try_out(self) -> None:
        """Subscribe to what nobody uses, and no longer."""
        await self.ask("SUBSCRIBE", self.greeting.trial)
        await self.ask("UNSUBSCRIBE", self.greeting.trial)

    def replied(self, reply: Any) -> None:
        """Take messages and confirmations, of which one command brings many."""
        if not self.greeted:
            super().replied(reply)
            return
        if type(reply) is list and len(reply) == 3 and reply[0] == b"message":  # as good as always
            _, channel, payload = reply
            if type(channel) is bytes and type(payload) is bytes:
                self.owner.heard_on(channel, payload)
                return
        match reply:
            case [b"subscribe" | b"unsubscribe", bytes(channel), int()]:
                self.owner.confirmed_on(channel)
            case ReplyError():
                self.abort(f"it answers {error_code(reply)}")
            case _:
                self.abort(NO_REDIS)

    def say(self, command: str, channels: Iterable[bytes]) -> None:
        """SUBSCRIBE or UNSUBSCRIBE; each of the channels is confirmed."""
        self.transport.write(pack_command((command, *channels)))  # type: ignore[arg-type]


class RedisFactory(protocol.Factory):
    """Makes one kind of connection."""

    noisy = False

    def __init__(
        self,
        kind: type[_Connection],
        owner: ConnectionOwner,
        greeting: Greeting,
        clock: IReactorTime,
        hasten: Callable[[Any], None],
    ) -> None:
        self._kind = kind
        self._owner = owner
        self._greeting = greeting
        self._clock = clock
        self._hasten = hasten

    def buildProtocol(self, address: object) -> _Connection:
        """A connection that greets as soon as it is made."""
        made = self._kind()
        made.owner, made.greeting, made.clock = self._owner, self._greeting, self._clock
        made.hasten = self._hasten
        return made


def error_code(reply: object) -> str:
    """What an error answer begins with; what follows may quote what was sent."""
    return str(reply).split(" ", 1)[0]


def _broken(reason: Failure) -> str:
    if isinstance(reason.value, TLSError) and reason.value.args[0]:
        return f"TLS: {reason.value.args[0][0][-1]}"
    if reason.check(ConnectionDone, ConnectionLost):
        return "it closes the connection"
    return f"the connection broke ({type(reason.value).__name__})"
