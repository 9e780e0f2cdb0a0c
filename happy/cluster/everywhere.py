"""Telling clients wherever they are: here at once, and at other nodes over the bus."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, TimeoutError

from happy.base.waiting import within
from happy.cluster import wire
from happy.cluster.feed import Feed, Told
from happy.realtime.large_updates import text_of
from happy.realtime.updates import Audience, encode_ephemeral, state_of
from happy.storage.pieces import LARGE, InPieces
from happy.storage.transaction import Note

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.cluster.hosting import Hosted, Hosting
    from happy.cluster.outlet import Outlet
    from happy.cluster.reading import Reading
    from happy.metrics import Metrics
    from happy.realtime.hub import Hub
    from happy.realtime.updates import EphemeralBody, Update

ORDER_SECONDS: Final = 1.0
"""How long an answer waits for updates of other nodes that come before it."""

ANSWER_SECONDS: Final = 0.25
"""What others have to say that somebody looks at an account, after they were asked."""

ACQUAINTED_SECONDS: Final = 1.0
"""How long the others may take to say what they have of an account; until then they may have anything."""


class Everywhere:
    """All clients of the service (:class:`happy.realtime.broadcaster.Broadcaster`)."""

    hosting: Hosting
    reading: Reading

    def __init__(self, hub: Hub, outlet: Outlet, clock: IReactorTime, metrics: Metrics) -> None:
        self._cut = metrics.happy_feed_gaps_total.labels("cut")
        self._arrived = metrics.happy_feed_gaps_total.labels("arrived")
        self._hub = hub
        self._outlet = outlet
        self._clock = clock
        self._own: dict[str, int] = {}
        self._looking_for: dict[str, list[Deferred[None]]] = {}
        """Who waits to hear that somebody looks at an account."""
        self.look = hub.look

    # -- what this node does ---------------------------------------------------------------------

    def note(self, update: Any) -> Note:
        """A row of the log for a publication, with the text that is sent (:mod:`happy.storage.log`)."""
        audience, text = update.audience, text_of(update, LARGE)
        noted = text if isinstance(text, InPieces) else text.decode()
        return Note(audience.account, update.seq, audience.session, audience.machine, _skipped(update), noted)

    def deliver(self, update: Update) -> None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        noted: str | InPieces | None = getattr(update, "text", None)
        payload = text_of(update) if noted is None else noted.encode() if isinstance(noted, str) else noted
        told = Told(update.seq, update.audience, payload, _skipped(update))
        account = update.audience.account
        hosted = self.hosting.get(account)
        if hosted is not None:
            hosted.feed.offer(told, local=True)
            if hosted.feed.behind(told.seq):
                self._own[account] = told.seq
        self._outlet.update(told)

    def signal(self, audience: Audience, body: EphemeralBody) -> None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`.

        Most heartbeats leave no node: nobody looks at the account elsewhere.
        """
        self._hub.signal(audience, body)
        account = audience.account
        hosted = self.hosting.get(account)
        if hosted is not None and self._acquainted(hosted):
            everybody = audience.session is not None or audience.machine is not None
            if not (hosted.roster.peers if everybody else hosted.roster.users):
                return
        said = wire.NodeSignal(
            self._outlet.node,
            account,
            audience.session,
            audience.machine,
            state_of(body),
            encode_ephemeral(body),
        )
        self._outlet.signal(said)

    def _acquainted(self, hosted: Hosted) -> bool:
        """Whether all others that host an account will have said what they have of it."""
        return hosted.asked is not None and self._clock.seconds() - hosted.asked >= ACQUAINTED_SECONDS

    def after(self, account: str, act: Callable[..., object], *arguments: object) -> None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        passed = self._passed(account) if account in self._own else None
        if passed is None:
            self._hub.after(account, act, *arguments)
        else:
            passed.addCallback(lambda _: self._hub.after(account, act, *arguments))

    def told(self, account: str) -> Deferred[None] | None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        passed = self._passed(account)
        if passed is None:
            return self._hub.told(account)
        return passed.addCallback(lambda _: self._hub.told(account))

    def current(self, account: str) -> Deferred[None] | None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        hosted = self.hosting.get(account)
        if hosted is None or hosted.waiting is not None:
            return None
        reaching = Deferred.fromCoroutine(self._reach(hosted.feed))
        return within(ORDER_SECONDS, reaching, self._clock).addErrback(_too_late)

    async def _reach(self, feed: Feed) -> None:
        """Wait until a feed has passed what is committed now."""
        number = await self.reading.number(feed.account)
        if (passed := feed.reach(number)) is not None:
            await passed

    def viewing(self, account: str) -> bool:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        hosted = self.hosting.get(account)
        return self._hub.viewing(account) or (hosted is not None and hosted.roster.viewing)

    def acquainted(self, account: str) -> Deferred[None] | None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        hosted = self.hosting.get(account)
        if self.viewing(account) or (hosted is not None and self._acquainted(hosted)):
            return None
        return Deferred.fromCoroutine(self._get_acquainted(account))

    async def _get_acquainted(self, account: str) -> None:
        """Host an account without clients here, so that others say what they have of it."""
        with suppress(TimeoutError):
            if (hosting := self.hosting.host(account)) is not None:
                await hosting
        if self.viewing(account):
            return
        said: Deferred[None] = Deferred()
        waiting = self._looking_for.setdefault(account, [])
        waiting.append(said)
        with suppress(TimeoutError):
            await within(ANSWER_SECONDS, said, self._clock)
        waiting.remove(said)
        if not waiting:
            self._looking_for.pop(account, None)

    def machine_connected(self, account: str, machine: str) -> bool:
        """See :class:`happy.realtime.broadcaster.Broadcaster`."""
        hosted = self.hosting.get(account)
        return self._hub.machine_connected(account, machine) or (
            hosted is not None and hosted.roster.has_machine(machine)
        )

    def _passed(self, account: str) -> Deferred[None] | None:
        """Fires when this node's latest commit was told here, or nobody should wait for that any more."""
        own = self._own.get(account)
        if own is None:
            return None
        hosted = self.hosting.get(account)
        passed = None if hosted is None else hosted.feed.passed(own)
        if passed is None:
            del self._own[account]
            return None

        def over(_: None) -> None:
            if self._own.get(account) == own:
                del self._own[account]

        return within(ORDER_SECONDS, passed, self._clock).addErrback(_too_late).addCallback(over)

    # -- what feeds want ------------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        """See :class:`happy.cluster.feed.FeedOwner`."""
        assert told.payload is not None
        self._hub.deliver_text(told.audience, told.payload, told.skip)

    def ask(self, feed: Feed) -> None:
        """See :class:`happy.cluster.feed.FeedOwner`."""
        self.reading.ask(feed)

    def arrived(self) -> None:
        """See :class:`happy.cluster.feed.FeedOwner`."""
        self._arrived.inc()

    def cut(self, account: str) -> None:
        """See :class:`happy.cluster.feed.FeedOwner`."""
        self._cut.inc()
        self._hub.cut(account)

    # -- what other nodes say -------------------------------------------------------------------

    def hear_update(self, said: wire.NodeUpdate) -> None:
        """Another node committed something."""
        hosted = self.hosting.get(said.account)
        if hosted is not None:
            audience = Audience(said.account, said.session, said.machine)
            hosted.feed.offer(Told(said.seq, audience, said.payload, said.skip))

    def hear_of(self, account: str) -> None:
        """Another node says what it has of an account."""
        if account in self._looking_for and self.viewing(account):
            for said in list(self._looking_for[account]):
                if not said.called:
                    said.callback(None)

    def hear_wake(self, said: wire.Wake) -> None:
        """Another node committed something large."""
        hosted = self.hosting.get(said.account)
        if hosted is not None:
            hosted.feed.wake(said.seq)

    def hear_signal(self, said: wire.NodeSignal) -> None:
        """Another node passes a signal on."""
        self._hub.signal_text(Audience(said.account, said.session, said.machine), said.payload, said.state)


def _skipped(update: Any) -> str | None:
    skipped: str | None = getattr(update.skip, "id", None)
    return skipped


def _too_late(failure: Failure) -> None:
    failure.trap(TimeoutError)
