"""Clients that come back to another node than the one that they were connected to (realtime.md A.14, D-9).

An offset begins with the node whose log gave it. That one is asked for the client, and lets go of it with
all that it has not heard. Meanwhile what is told here is kept, as for a client that is gone: the two overlap,
and what is in both is left out of one. Updates have numbers for that. A signal is the same text everywhere,
and whoever hears an answer over a bus has heard before it what was heard before it was given.

Whatever is not certain in time is no reason to wait: then the client begins anew.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from happy.base.waiting import within
from happy.cluster import wire
from happy.cluster.room import Room
from happy.realtime.client import Client
from happy.realtime.recovery import Moved
from happy.realtime.replay import Said, pack, unpack

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.cluster.feed import Feed
    from happy.cluster.hosting import Hosting
    from happy.cluster.outlet import Outlet
    from happy.cluster.rosters import Rosters
    from happy.realtime.calls import Calls
    from happy.realtime.hub import Hub
    from happy.realtime.recovery import Left

FETCH_SECONDS: Final = 0.5
"""How long a client waits for what it had elsewhere."""

LET_GO_SECONDS: Final = 0.3
"""How long it is tried to let go of one: afterwards it will have begun anew."""

AT_ONCE: Final = 1_000
"""Clients that are fetched at a time, and as many that are let go; of an account as many as are left for
others."""

MOST_BYTES: Final = 256 * 1024
"""What a client may have missed; with more of it, it is better off fetching anew."""

_PID: Final = 20
_LONGEST_OFFSET: Final = 64
"""Characters that these have."""


class _Numbered(Struct):
    """What has to be known of an update."""

    seq: int


_UPDATE: Final = "update"

_updates = msgspec.json.Decoder(_Numbered)


class Claims:
    """Gets clients from other nodes, and lets them have those of this one. ``known`` are the other nodes."""

    _log = Logger()
    calls: Calls

    def __init__(
        self,
        hub: Hub,
        outlet: Outlet,
        clock: IReactorTime,
        hosting: Hosting,
        rosters: Rosters,
        known: Container[str],
    ) -> None:
        self._hub = hub
        self._outlet = outlet
        self._clock = clock
        self._hosting = hosting
        self._rosters = rosters
        self._known = known
        self._numbers = count(1)
        self._asked: dict[int, tuple[str, Deferred[wire.Belongings | None]]] = {}
        self._fetching = Room(AT_ONCE)
        self._letting_go = Room(AT_ONCE)

    # -- clients that come -----------------------------------------------------------------------

    def had(self, pid: object, offset: object) -> str | None:
        """See :class:`happy.realtime.application.Others`."""
        if not (isinstance(pid, str) and isinstance(offset, str)):
            return None
        if len(pid) != _PID or len(offset) > _LONGEST_OFFSET:
            return None
        node, dot, _ = offset.partition(".")
        recovery = self._hub.recovery
        if not dot or node not in self._known or recovery is None or recovery.knows(pid):
            return None
        return node

    async def fetch(self, client: Client, node: str, pid: str, offset: str) -> Moved | None:
        """See :class:`happy.realtime.application.Others`."""
        recovery = self._hub.recovery
        assert recovery is not None
        account, scope, subject, _ = client.identity
        if not self._fetching.take(account, 1):
            return None
        recovery.replay.expect(account, scope, subject, anew=True)
        try:
            fetching = Deferred.fromCoroutine(self._fetch(client, node, pid, offset))
            return await within(FETCH_SECONDS, fetching, self._clock)
        except TimeoutError:
            return None
        finally:
            self._fetching.give_back(account, 1)
            recovery.replay.give_up(account, scope, subject)
            self._clock.callLater(0, recovery.tidy, account)

    async def _fetch(self, client: Client, node: str, pid: str, offset: str) -> Moved | None:
        recovery, hosted = self._hub.recovery, self._hosting.get(client.account)
        if recovery is None or hosted is None:
            return None
        account, scope, subject, declared = client.identity
        await self._told(account)
        # Both in one turn: what is told between them would be asked for nowhere.
        since, position = hosted.feed.next, recovery.replay.position(account)
        if since is None:
            return None
        # It must be known that a client is expected here before it is expected nowhere else.
        self._rosters.tell(account)
        number = next(self._numbers)
        claim = wire.Claim(self._outlet.node, number, account, scope, subject, declared, pid, offset, since)
        left = await self._ask(node, claim)
        if left is None or await self._reach(hosted.feed, left.until) is None or self._hub.withholds(account):
            return None
        own = recovery.replay.missed(account, position, scope, subject, left.id)
        if own is None:
            return None
        missed = pack(_joined(left, unpack(own)), recovery.replay.offset(account))
        return Moved(pid, left.id, left.methods, left.next_call, missed, offset)

    async def _ask(self, node: str, claim: wire.Claim) -> wire.Belongings | None:
        answer: Deferred[wire.Belongings | None] = Deferred()
        self._asked[claim.number] = node, answer

        def went_out(receivers: int | None) -> None:
            if receivers == 0:
                self._settle(claim.number, None)

        self._outlet.ask(node, claim, went_out, lambda: self._settle(claim.number, None))
        try:
            return await answer
        finally:
            self._asked.pop(claim.number, None)

    def hear(self, said: wire.Claimed) -> None:
        """Another node says what it had of a client."""
        if self._asked.get(said.number, ("", None))[0] == said.node:
            self._settle(said.number, said.belongings)

    def died(self, node: str) -> None:
        """Nobody there answers any more."""
        for number in [number for number, (asked, _) in self._asked.items() if asked == node]:
            self._settle(number, None)

    def lost(self) -> None:
        """No answer will be heard."""
        for number in list(self._asked):
            self._settle(number, None)

    def _settle(self, number: int, belongings: wire.Belongings | None) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None and not asked[1].called:
            asked[1].callback(belongings)

    # -- clients that go -------------------------------------------------------------------------

    def serve(self, said: wire.Claim) -> None:
        """A client of ours may have come to another node."""
        if not self._letting_go.take(said.account, 1):
            self._answer(None, said)
            return
        letting = within(LET_GO_SECONDS, Deferred.fromCoroutine(self._let_go(said)), self._clock)
        letting.addErrback(self._failed).addCallback(self._answer, said).addBoth(self._has_let_go, said)

    async def _let_go(self, said: wire.Claim) -> wire.Belongings | None:
        recovery, hosted = self._hub.recovery, self._hosting.get(said.account)
        if recovery is None or hosted is None or not recovery.knows(said.pid):
            return None
        until = await self._reach(hosted.feed, said.since)
        if until is None or self._hub.withholds(said.account):
            return None
        identity = said.account, said.scope, said.subject, said.declared
        left = recovery.let_go(identity, said.pid, said.offset)
        return None if left is None else self._left(left, until)

    def _left(self, left: Left, until: int) -> wire.Belongings | None:
        """What a client leaves behind."""
        former = left.former
        methods = list(former.methods or ())
        if isinstance(former, Client):
            id, next_call = former.socket.id, former.socket.next_call
            self._release(former)
        else:
            id, next_call = former.id, former.next_call
        if sum(len(packet.text) for packet in left.missed) > MOST_BYTES:
            return None
        heard = [_digest(payload) for event, payload in unpack(left.heard) if event != _UPDATE]
        return wire.Belongings(id, methods, next_call, unpack(left.missed), heard, until)

    def _release(self, client: Client) -> None:
        """Nobody hears of the end of a connection whose client is elsewhere."""
        self._hub.remove(client)
        self.calls.forget(client)
        client.socket.abandon()
        assert self._hub.recovery is not None
        self._hub.recovery.tidy(client.account)

    def _answer(self, belongings: wire.Belongings | None, said: wire.Claim) -> None:
        size = 0 if belongings is None else sum(len(payload) for _, payload in belongings.missed)
        if not self._outlet.takes(said.account, size):
            belongings, size = None, 0
        answer = wire.Claimed(self._outlet.node, said.number, belongings)
        self._outlet.to(said.node, answer, said.account, size)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(TimeoutError):
            self._log.failure("Letting go of a client failed", failure)

    def _has_let_go(self, _: object, said: wire.Claim) -> None:
        self._letting_go.give_back(said.account, 1)

    # -- both ------------------------------------------------------------------------------------

    async def _reach(self, feed: Feed, number: int) -> int | None:
        """The number that clients here are told next, once they were told of all before ``number``.

        None if they hear of nothing any more. What comes after is told after this.
        """
        passed = feed.reach(number - 1)
        if passed is not None:
            await passed
        following = feed.next
        await self._told(feed.account)
        return following

    async def _told(self, account: str) -> None:
        told = self._hub.told(account)
        if told is not None:
            await told


def _joined(left: wire.Belongings, own: Sequence[Said]) -> list[Said]:
    """What a client missed elsewhere, and then here, without what it has heard by then."""
    heard = {*left.heard, *(_digest(payload) for event, payload in left.missed if event != _UPDATE)}
    # What was told there while it waited to have told all before ``until`` is among what was missed too.
    numbers = {_updates.decode(payload).seq for event, payload in left.missed if event == _UPDATE}

    def is_new(said: Said) -> bool:
        event, payload = said
        if event == _UPDATE:
            seq = _updates.decode(payload).seq
            return seq >= left.until and seq not in numbers
        return _digest(payload) not in heard

    return [*left.missed, *filter(is_new, own)]


def _digest(signal: bytes) -> bytes:
    return blake2b(signal, digest_size=8).digest()
