"""The bus by Redis or Valkey. Nothing is stored there: only publishing and subscribing are used.

Of a client's library only the parser is used (hiredis). The pools of the one for Twisted give up for good
when a connection breaks while it logs in, and do not subscribe to anything again; and its three Deferreds for
a command are half of what it costs to tell another node something.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

from hiredis import ReplyError
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.base.errors import StartupError
from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.cluster.bus import NODES, BusLost, BusOwner
from happy.cluster.redis_protocols import Greeting, Listening, RedisFactory, Speaking, error_code
from happy.cluster.redis_url import RedisTarget
from happy.cluster.subscriptions import Subscriptions

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory

START_SECONDS: Final = 10.0
"""How long a start waits for a Redis that is not reached: it may be starting as well."""

NAME_SECONDS: Final = 3.0
"""How long a start waits for a name that has no address: as a rule it is wrong, or has just been given."""

REPLACED_SECONDS: Final = 0.3
"""How long a start waits for it that takes the place of a node which has served."""

STEADY_SECONDS: Final = 5.0
"""How long it has to be up so that the next attempt is as soon as the first. All nodes ask each other for
everything whenever one is back, so one that comes and goes must not do so ever faster."""

CONFIRM_SECONDS: Final = 5.0
"""How long none of the first channels may be confirmed until the connection is worth nothing."""

MOST_UNANSWERED: Final = 32 * 1024 * 1024
"""Bytes that may have been published and not answered. With more than that, Redis is as good as gone."""

_CLUSTER: Final = (
    "redis-url: {target} is part of a Redis Cluster, which may bring what nodes say in another order: "
    "a client that moves to another node may miss a passing signal; use a single Redis"
)
_OVERHEAD: Final = 512
"""Bytes that a publication under way takes besides its payload."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_MOST_DOUBLINGS: Final = 5


class RedisBus:
    """A :class:`~happy.cluster.bus.Bus`.

    ``service`` keeps services apart that share a Redis, ``version`` the versions of what is said within one.
    ``name`` is this node's, for whoever looks at the connections. ``hasten`` is given each connection's
    transport when it is made. ``dispensable`` lets a start go on although the host has no address,
    ``replaces`` whatever is wrong: a node before this one could use it, so it is away, and waited for.
    """

    largest = 256 * 1024
    """Redis cuts a subscriber that is 32 MB behind."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        target: RedisTarget,
        *,
        service: str,
        version: int,
        name: str,
        hasten: Callable[[Any], None] = lambda transport: None,
        dispensable: bool = False,
        replaces: bool = False,
    ) -> None:
        self._reactor = reactor
        self._hasten = hasten
        self._dispensable = dispensable
        self._replaces = replaces
        self._target = target
        self._nodes = f"{service}:{target.database}:{NODES}".encode()
        self._prefix = f"{service}:{version}:{target.database}:".encode()
        self._greeting = Greeting(target, f"happy-{name}", self._prefix + b"trial")
        self._owner: BusOwner | None = None
        self.up = False
        """Both connections have greeted, and every channel that was wanted then is confirmed."""
        self._speaking: Speaking | None = None
        self._listening: Listening | None = None
        self._subscriptions = Subscriptions(reactor, self._say, self._confirmed, self._completed)
        self._complete = False
        self._confirming: IDelayedCall | None = None
        self._services: list[ClientService] = []
        self._starting: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None
        self._failures = 0
        self._complained = False
        self._began = self._up_since = 0.0
        self._why = "it does not answer"
        self._unanswered = 0
        self._trouble = Trouble(self._log, "reaching Redis", reactor)
        self._hearing = Trouble(self._log, "acting on what another node says", reactor)

    # -- start and stop ------------------------------------------------------------------------

    def start(self, owner: BusOwner) -> Deferred[None]:
        """Connect; fires when it is up, or has no address and is dispensable.

        Fails with StartupError if Redis refuses or is not reached.
        """
        try:
            endpoint = _Watched(self._target.endpoint(self._reactor), self)
        except ValueError as wrong:
            return fail(StartupError(f"redis-url: it must {wrong}"))
        self._owner = owner
        self._began = self._reactor.seconds()
        starting: Deferred[None] = Deferred(lambda _: self._leave())
        self._starting = starting
        patience = REPLACED_SECONDS if self._replaces else START_SECONDS
        self._patience = self._reactor.callLater(patience, self._give_up)
        for kind in (Speaking, Listening):
            factory = RedisFactory(kind, self, self._greeting, self._reactor, self._hasten)
            self._services.append(ClientService(endpoint, factory, self._pause, self._reactor))
        for service in self._services:
            service.startService()
        return starting

    def stop(self) -> Deferred[None]:
        """Close both connections."""
        return self._close().addCallback(lambda _: None)

    def _leave(self) -> None:
        self._close()

    def _close(self) -> Deferred[Any]:
        self._owner = None
        self.up = False
        self._end_start()
        self._stop_listening()
        for connection in (self._speaking, self._listening):
            if connection is not None:  # Who wants to close it must not wait for a Redis that reads nothing.
                connection.transport.abortConnection()
        services, self._services = self._services, []
        return gatherResults([service.stopService() for service in services])

    def _end_start(self) -> Deferred[None] | None:
        """The start is over; what waits for it."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        starting, self._starting = self._starting, None
        return starting

    def _give_up(self) -> None:
        starting = self._end_start()
        if starting is not None and self._replaces:
            starting.callback(None)
        elif starting is not None:
            reason = StartupError(f"redis-url: {self._target} cannot be used: {self._why}")
            self._close().addBoth(lambda _: starting.errback(reason))

    # -- what a bus does -----------------------------------------------------------------------

    def publish(self, channel: str, payload: bytes) -> Deferred[int | None]:
        """See :meth:`Bus.publish`; how many hear it is unknown in a cluster of Redis servers."""
        said: Deferred[int | None] = Deferred()
        self.say(channel, payload, said.callback, lambda: said.errback(BusLost()))
        return said

    def say(
        self, channel: str, payload: bytes, out: Callable[[int | None], object], lost: Callable[[], object]
    ) -> None:
        """See :meth:`Bus.say`, and :meth:`publish`."""
        speaking, size = self._speaking, len(payload) + _OVERHEAD
        if not self.up or speaking is None:
            lost()
            return
        if self._unanswered + size > MOST_UNANSWERED:
            self.failed("it takes nothing any more")
            self._reactor.callLater(0, self.cut)
            lost()
            return

        def answered(reply: Any) -> None:
            self._unanswered -= size
            if isinstance(reply, int):
                out(reply if speaking.whole else None)
            else:
                self._refuse(reply, speaking)
                lost()

        self._unanswered += size
        speaking.send(answered, b"PUBLISH", self._channel(channel), payload)

    def _refuse(self, reply: object, speaking: Speaking) -> None:
        """A connection on which a command failed is worth nothing."""
        if isinstance(reply, ReplyError) and speaking is self._speaking:
            speaking.abort(f"it answers {error_code(reply)}")

    def _unasked(self, failure: Failure, speaking: Speaking) -> Failure:
        self._refuse(failure.value, speaking)
        return Failure(BusLost())

    def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to channels."""
        self._subscriptions.add(channels)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Listen to them no longer."""
        self._subscriptions.remove(channels)

    def subscribers(self, channel: str) -> Deferred[int | None]:
        """How many listen to a channel; unknown in a cluster of Redis servers."""
        speaking = self._speaking
        if not self.up or speaking is None:
            return fail(BusLost())
        answer: Deferred[list[Any]] = speaking.ask("PUBSUB", "NUMSUB", self._channel(channel))
        return answer.addCallbacks(
            lambda found: found[1] if speaking.whole else None, self._unasked, errbackArgs=(speaking,)
        )

    def cut(self) -> None:
        """Drop both connections; others are made by themselves."""
        dropped = [self._speaking, self._listening]
        self._speaking = self._listening = None
        self._down()
        for connection in dropped:
            if connection is not None:
                connection.transport.abortConnection()

    def _channel(self, channel: str) -> bytes:
        return self._nodes if channel == NODES else self._prefix + channel.encode()

    def _named(self, channel: bytes) -> str:
        return (
            NODES if channel == self._nodes else channel.removeprefix(self._prefix).decode(errors="replace")
        )

    # -- what the connections tell -------------------------------------------------------------

    def ready(self, connection: Speaking | Listening) -> None:
        """A connection has greeted."""
        if isinstance(connection, Speaking):
            self._speaking = connection
            self._complain(connection)
            self._look()
        else:
            self._listening = connection
            self._await_confirmations()
            self._subscriptions.begin()

    def _complain(self, speaking: Speaking) -> None:
        """Say once that a cluster of Redis servers keeps no order of what several of them pass on."""
        if not (speaking.whole or self._complained):
            self._complained = True
            self._log.warn(_CLUSTER, target=str(self._target))

    def gone(self, connection: Speaking | Listening) -> None:
        """A connection that had greeted broke."""
        if connection in (self._speaking, self._listening):
            if connection is self._speaking:
                self._speaking = None
            else:
                self._listening = None
            self._down()

    def failed(self, why: str) -> None:
        """A connection could not be made, or must not be kept."""
        self._failures += 1
        self._why = why
        if self._owner is not None:
            self._trouble.again(why)

    def nameless(self) -> None:
        """Its host has no address: a start does not wait long for what is wrong or left over, and later one
        is waited for."""
        self.failed("its host has no address")
        if self._dispensable and (starting := self._end_start()) is not None:
            starting.callback(None)
        elif self._starting is not None and self._reactor.seconds() - self._began >= NAME_SECONDS:
            assert self._patience is not None
            self._patience.reset(0)  # not now: a service cannot be stopped while it connects

    def refused(self, why: str) -> None:
        """Redis lets nobody in who comes like this: a start ends, and later it is tried again."""
        self._why = why
        self._give_up()

    def heard_on(self, channel: bytes, payload: bytes) -> None:
        """A message."""
        if self._owner is not None:
            name = NODES if channel == self._nodes else channel[len(self._prefix) :].decode(errors="replace")
            try:
                self._owner.heard(name, payload)
            except Exception as error:
                self._hearing.again(describe_fault(error))

    def confirmed_on(self, channel: bytes) -> None:
        """What was said about a channel is done."""
        if self._confirming is not None:
            self._confirming.reset(CONFIRM_SECONDS)
        self._subscriptions.confirm(self._named(channel))

    # -- up and down ---------------------------------------------------------------------------

    def _say(self, command: Literal["SUBSCRIBE", "UNSUBSCRIBE"], channels: list[str]) -> None:
        if self._listening is not None:
            self._listening.say(command, map(self._channel, channels))

    def _confirmed(self, channel: str) -> None:
        if self._owner is not None:
            self._owner.confirmed(channel)

    def _completed(self) -> None:
        self._complete = True
        self._stop_awaiting()
        self._look()

    def _look(self) -> None:
        """Whether it is up by now."""
        if self.up or self._owner is None or self._speaking is None or not self._complete:
            return
        self.up = True
        self._up_since = self._reactor.seconds()
        self._trouble.over()
        self._owner.back()
        starting = self._end_start()
        if starting is not None:
            starting.callback(None)

    def _down(self) -> None:
        if self._listening is None:
            self._stop_listening()
        was_up, self.up = self.up, False
        if was_up:
            steady = self._reactor.seconds() - self._up_since >= STEADY_SECONDS
            self._failures = 0 if steady else self._failures + 1
        if was_up and self._owner is not None:
            self._owner.lost()

    def _await_confirmations(self) -> None:
        """Until all channels are confirmed nothing else tells that this connection is heard."""

        def nothing_came(listening: Listening | None) -> None:
            self._confirming = None
            if listening is not None:
                listening.abort("it does not answer in time")

        self._stop_awaiting()
        self._confirming = self._reactor.callLater(CONFIRM_SECONDS, nothing_came, self._listening)

    def _stop_awaiting(self) -> None:
        confirming, self._confirming = self._confirming, None
        if confirming is not None:
            confirming.cancel()

    def _stop_listening(self) -> None:
        self._complete = False
        self._stop_awaiting()
        self._subscriptions.end()

    def _pause(self, attempts: int) -> float:
        """Seconds until the next connection. Those that are refused count as well as those that fail."""
        longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures, _MOST_DOUBLINGS), _LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.0)


@implementer(IStreamClientEndpoint)
class _Watched:
    """An endpoint that tells why connecting failed."""

    def __init__(self, endpoint: IStreamClientEndpoint, bus: RedisBus) -> None:
        self._endpoint = endpoint
        self._bus = bus

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting: Deferred[IProtocol] = self._endpoint.connect(factory)
        return connecting.addErrback(self._tell)

    def _tell(self, failure: Failure) -> Failure:
        if failure.check(DNSLookupError, ValueError):
            self._bus.nameless()
        else:
            self._bus.failed(str(failure.value).rstrip("."))
        return failure
