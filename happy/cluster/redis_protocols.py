"""The two connections of a bus to Redis: one to publish and ask, one to listen.

A connection greets before it is used: it logs in, says who it is, and tries what it will be needed for, so
that a wrong password or a missing right is found when it is made. One that cannot greet is cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from hiredis import Reader
from OpenSSL.SSL import Error as TLSError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from txredisapi import InvalidData, RedisProtocol, ResponseError, SubscriberProtocol

from happy.base.waiting import within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.cluster.redis_url import RedisTarget

GREETING_SECONDS: Final = 3.0
"""Seconds for a greeting. What is slower than that is no bus."""

NO_REDIS: Final = "it does not answer as Redis does"

_READER: Final = Reader
"""That hiredis is there: without it txredisapi takes a turn of the reactor for each reply."""
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


class _Greeted(RedisProtocol):  # type: ignore[misc]
    """What both connections have in common."""

    owner: ConnectionOwner
    greeting: Greeting
    clock: IReactorTime
    greeted = False
    _why = "it does not answer in time"
    _cut = False

    def connectionMade(self) -> None:
        """Greet."""
        if not self.greeting.target.path:
            self.transport.setTcpKeepAlive(True)
            self.transport.setTcpNoDelay(True)
        super().connectionMade()
        said = within(GREETING_SECONDS, Deferred.fromCoroutine(self._greet()), self.clock)
        said.addCallbacks(self._ready_now, self._failed)

    def connectionLost(self, reason: Failure) -> None:
        """Whatever waits for an answer fails."""
        self._why = _broken(reason)
        if self.greeted:
            self.owner.gone(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Take replies; what does not speak the protocol of Redis is cut."""
        try:
            super().dataReceived(data, unpause)
        except InvalidData:
            self.abort(NO_REDIS)

    def tryConvertData(self, data: Any) -> Any:
        """As it came."""
        return data

    def abort(self, why: str) -> None:
        """Cut the connection; the first reason counts."""
        if not self._cut:
            self._cut = True
            self.owner.failed(why)
            self.transport.abortConnection()

    async def try_out(self) -> None:
        """Do what the connection is for. Raises ResponseError if that is not allowed."""
        raise NotImplementedError

    async def _greet(self) -> None:
        target = self.greeting.target
        try:
            if target.password is not None:
                await self._login(*([target.user] if target.user else []), target.password)
            await self.execute_command("CLIENT", "SETNAME", self.greeting.name)
            await self.try_out()
        except ResponseError as error:
            code = error_code(error)
            if code in _REFUSALS:
                raise RedisRefused(_REFUSALS[code]) from None
            self._why = f"it answers {code}"
            raise

    async def _login(self, *credentials: str) -> None:
        try:
            await self.execute_command("AUTH", *credentials)
        except ResponseError as error:
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


class Speaking(_Greeted):
    """The connection that publishes and asks.

    ``whole`` tells that Redis is one server: in a cluster of them each counts only its own subscribers.
    """

    whole = True

    async def try_out(self) -> None:
        """Ask what will be asked."""
        self.whole = b"cluster_enabled:1" not in await self.execute_command("INFO", "cluster")
        if self.whole and b"role:slave" in await self.execute_command("INFO", "replication"):
            raise RedisRefused("it is a replica, and what is published there the others do not hear")
        await self.execute_command("PUBLISH", self.greeting.trial, b"")
        await self.execute_command("PUBSUB", "NUMSUB", self.greeting.trial)


class Listening(_Greeted, SubscriberProtocol):  # type: ignore[misc]
    """The connection that listens."""

    async def try_out(self) -> None:
        """Subscribe to what nobody uses, and no longer."""
        await self.execute_command("SUBSCRIBE", self.greeting.trial)
        await self.execute_command("UNSUBSCRIBE", self.greeting.trial)

    def replyReceived(self, reply: Any) -> None:
        """Take messages and confirmations, of which one command brings many, from the line of replies."""
        if not self.greeted:
            super().replyReceived(reply)
            return
        match reply:
            case [b"message", bytes(channel), bytes(payload)]:
                self.owner.heard_on(channel, payload)
            case [b"subscribe" | b"unsubscribe", bytes(channel), int()]:
                self.owner.confirmed_on(channel)
            case ResponseError():
                self.abort(f"it answers {error_code(reply)}")
            case _:
                self.abort(NO_REDIS)

    def say(self, command: str, channels: Iterable[bytes]) -> None:
        """SUBSCRIBE or UNSUBSCRIBE; each of the channels is confirmed."""
        self.transport.write(self._build_command(command, *channels))


class RedisFactory(Factory):
    """Makes one kind of connection."""

    noisy = False

    def __init__(
        self, kind: type[_Greeted], owner: ConnectionOwner, greeting: Greeting, clock: IReactorTime
    ) -> None:
        self._kind = kind
        self._owner = owner
        self._greeting = greeting
        self._clock = clock

    def buildProtocol(self, address: object) -> _Greeted:
        """A connection that leaves bytes what they are."""
        made = self._kind(charset=None, convertNumbers=False)
        made.factory, made.owner, made.greeting, made.clock = self, self._owner, self._greeting, self._clock
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
