"""One node among several that are one service.

PostgreSQL has the truth, and the bus is only fast: whatever it loses is read from the log. There is one way
back from everything that may have been missed (a lost bus, a dead node, a process that stood still): the
numbers of all hosted accounts are compared with the database's, and what is missing is read. While there is
no bus, or it stands still, that is done every second.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from happy.cluster import wire
from happy.cluster.bus import NODES, node_channel
from happy.cluster.claims import Claims
from happy.cluster.company import Company
from happy.cluster.everywhere import Everywhere
from happy.cluster.hosting import Hosted, Hosting
from happy.cluster.nodes import BEAT_SECONDS, Nodes
from happy.cluster.orders import Orders
from happy.cluster.outlet import Outlet
from happy.cluster.reading import Reading
from happy.cluster.remote_calls import RemoteCalls
from happy.cluster.rosters import Rosters, Stops
from happy.cluster.upkeep import Upkeep
from happy.cluster.uses import Counting, SharedUses

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from happy.base.clocks import Now
    from happy.cluster.bus import Bus
    from happy.metrics import Metrics
    from happy.realtime.calls import Calls
    from happy.realtime.hub import Hub
    from happy.storage.database import Database

LOOK_SECONDS: Final = 1.0
"""How often the database is looked at while the bus cannot tell."""


class Cluster:
    """This node: what it hosts, and how it hears of the others.

    ``everywhere`` is what tells clients (:class:`happy.realtime.broadcaster.Broadcaster`).
    """

    _log = Logger()
    _draining = _started = False
    _era = 0

    def __init__(self, bus: Bus, hub: Hub, clock: Any, metrics: Metrics, *, name: str, now: Now) -> None:
        """``name`` is what logs and metrics call this node."""
        self.node = secrets.token_hex(5)
        self.bus = type(bus).__name__
        """The kind of bus."""
        self._mine = wire.beginning(self.node)
        self._bus = bus
        self._hub = hub
        self._clock = clock
        self._names: dict[str, str] = {}
        self._outlet = Outlet(bus, self.node, clock, metrics)
        self._looked = self._said = 0.0
        self._beating: IDelayedCall | None = None
        self._reading: Reading
        self.nodes = Nodes(self.node, self, clock.seconds)
        self.company = Company(self.node, name, int(now() * 1000))
        self.orders = Orders(self._outlet, self.nodes, clock, self.called)
        self.everywhere = Everywhere(hub, self._outlet, clock, metrics)
        self.rosters = Rosters(hub, self._outlet, clock, now)
        self.hosting = Hosting(
            bus,
            self.everywhere,
            clock,
            number=lambda account: self._reading.number(account),
            joined=self._hosts,
            left=self.rosters.leave,
            needed=self.rosters.needed,
        )
        self.everywhere.hosting = self.rosters.hosting = self.hosting
        self.calls = RemoteCalls(self._outlet, bus, clock, self.hosting, self.rosters, metrics)
        self._claims = Claims(hub, self._outlet, clock, self.hosting, self.rosters, self.nodes.known)
        self.had, self.fetch = self._claims.had, self._claims.fetch
        if hub.recovery is not None:
            hub.recovery.replay.node = f"{self.node}."
        hub.observer = self.rosters
        self._hearers = self._who_hears()
        self._metrics = metrics
        self._show(metrics, name)

    def _show(self, metrics: Metrics, name: str) -> None:
        heard = metrics.happy_bus_messages_total
        kinds: list[type[wire.NodeWord]] = [*self._hearers, wire.Beat]
        self._heard = {kind: heard.labels("in", kind.__name__) for kind in kinds}
        metrics.happy_bus_up.labels(name).set_function(lambda: self._bus.up)
        metrics.happy_nodes.labels(name).set_function(lambda: 1 + len(self.nodes.known))
        metrics.happy_hosted_accounts.labels(name).set_function(lambda: len(self.hosting))
        metrics.happy_feed_waiting.labels(name).set_function(lambda: self.hosting.held_back)
        metrics.happy_unconfirmed.labels(name).set_function(lambda: self.hosting.unconfirmed)

    async def start(
        self, database: Database, calls: Calls, stops: Stops, counts: Mapping[str, Counting]
    ) -> None:
        """Join the others. Raises StartupError when the bus will never be there.

        ``counts`` are those of uses that have limits for all nodes together, by their names.
        """
        self._reading = self.everywhere.reading = Reading(
            database, self._clock, self.hosting.feeds, self._metrics
        )
        self._upkeep = Upkeep(
            database,
            self._reading,
            self._clock,
            went_back=self._went_back,
            well=lambda: not self._needs_looking(),
            missed=lambda: self._count_look("missed"),
        )
        self.rosters.calls, self.rosters.stops = calls, stops
        self.calls.attach(calls)
        self._claims.calls = calls
        self._uses = SharedUses(self._outlet, counts)
        self._started = True
        self._bus.subscribe([NODES, node_channel(self.node)])
        await self._bus.start(self)
        self._beat()

    def drain(self) -> None:
        """Say that this node is about to leave."""
        self._draining = True
        self._say_beat()

    async def stop(self) -> None:
        """Leave: whatever was committed is told, and nobody waits for this node."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        self._hub.observer = None
        if not self._started:
            return
        self._started = False
        await self._outlet.leave()
        self._upkeep.stop()
        self._reading.stop()
        self.calls.stop()
        self._claims.lost()
        self.rosters.stop()
        self.hosting.stop()
        await self._bus.stop()

    def told(self) -> list[dict[str, Any]]:
        """See :meth:`happy.cluster.company.Company.told`."""
        return self.company.told(self.nodes, self.called)

    def is_first(self, *, of_files: bool = False) -> bool:
        """Whether this node does what one of all has to do, or one of those with the same files."""
        others = self.nodes.known.items()
        return all(
            self.node < node
            for node, known in others
            if not of_files or known.said.files == self.company.files
        )

    def called(self, node: str) -> str:
        """What people call another node."""
        known = self.nodes.known.get(node)
        return known.said.name if known is not None and known.said.name else self._names.get(node, node)

    def host(self, account: str) -> Deferred[None] | None:
        """See :meth:`happy.cluster.hosting.Hosting.host`."""
        return self.hosting.host(account)

    def catch_up(self, reason: str) -> None:
        """Something may have been missed."""
        self._count_look(reason)
        self._looked = self._clock.seconds()
        self._reading.catch_up()

    def _count_look(self, reason: str) -> None:
        self._metrics.happy_catch_ups_total.labels(reason).inc()

    def _hosts(self, hosted: Hosted) -> None:
        self.rosters.ask(hosted)

    # -- beats -----------------------------------------------------------------------------------

    def _beat(self) -> None:
        self._beating = self._clock.callLater(BEAT_SECONDS, self._beat)
        self._say_beat()
        self.nodes.tick()
        now = self._clock.seconds()
        if (why := self._needs_looking()) and now - self._looked >= LOOK_SECONDS:
            self.catch_up(why)
        self._upkeep.tend()

    def _needs_looking(self) -> str:
        """Why the bus does not tell everything at present, or nothing."""
        if not self._bus.up:
            return "away"
        if self.nodes.late:
            return "late"
        foreign = any(known.said.version != wire.VERSION for known in self.nodes.known.values())
        return "version" if foreign else ""

    def _say_beat(self) -> None:
        self._said = self._clock.seconds()
        self._outlet.to_all(self.company.myself(self._era, leaving=self._draining))

    def _went_back(self) -> None:
        self._break_off()
        self.catch_up("database")

    # -- the bus ---------------------------------------------------------------------------------

    def confirmed(self, channel: str) -> None:
        """See :class:`happy.cluster.bus.BusOwner`."""
        kind, _, account = channel.partition(":")
        if kind == "a":
            self.hosting.confirmed(account)

    def back(self) -> None:
        """See :class:`happy.cluster.bus.BusOwner`."""
        self._era += 1
        self._say_beat()
        self.nodes.back()
        self._break_off()
        self._outlet.back()
        self.catch_up("back")
        for hosted in self.hosting:
            if hosted.waiting is None:
                self.rosters.ask(hosted)

    def lost(self) -> None:
        """See :class:`happy.cluster.bus.BusOwner`."""
        self._log.warn("the bus is away: other nodes are heard of a second late")
        self.nodes.gone()
        self.rosters.set_aside()
        self.calls.lost()
        self._claims.lost()
        self._break_off()
        self.hosting.lost()
        self.catch_up("away")

    def _break_off(self) -> None:
        """Signals were lost that are in no log: nobody who is gone can be said to have missed nothing."""
        if self._hub.recovery is not None:
            self._hub.recovery.replay.break_off()

    def heard(self, channel: str, payload: bytes) -> None:
        """See :class:`happy.cluster.bus.BusOwner`."""
        if self._mine in payload[: wire.BEGINNING] and channel != NODES:
            return  # What is said of an account comes back to whoever says it.
        said = wire.decode(payload)
        if said is None:
            return
        kind = type(said)
        self._heard[kind].inc()
        if isinstance(said, wire.Beat):
            if said.node == self.node:
                took = self._clock.seconds() - self._said
                self._metrics.redis_stream_lag_ms.set(took * 1000)
                self._metrics.happy_bus_seconds.observe(took)
            self.nodes.heard(said)
            self.company.compare(said)
        elif said.node != self.node:
            if said.node not in self.nodes.known:
                self.nodes.heard(wire.Beat(said.node, "", wire.VERSION))
            self._hearers[kind](said)

    def _who_hears(self) -> dict[type[wire.NodeWord], Callable[[Any], None]]:
        """Whose a word of another node is."""
        return {
            wire.Bye: self._hear_bye,
            wire.Look: self._hear_look,
            wire.Use: self._hear_use,
            wire.Order: self.orders.serve,
            wire.Obeyed: self.orders.hear,
            wire.NodeUpdate: self.everywhere.hear_update,
            wire.Wake: self.everywhere.hear_wake,
            wire.NodeSignal: self.everywhere.hear_signal,
            wire.NodeState: self._hear_roster,
            wire.NodeChange: self._hear_roster,
            wire.Stop: self.rosters.hear_stop,
            wire.Unhosted: self.rosters.hear_gone,
            wire.Resync: self._hear_resync,
            wire.NodeCall: self.calls.serve,
            wire.NodeAnswer: self.calls.hear,
            wire.Claim: self._claims.serve,
            wire.Claimed: self._claims.hear,
        }

    def _hear_look(self, said: wire.Look) -> None:
        self._break_off()
        self.catch_up("asked")

    def _hear_roster(self, said: wire.NodeState | wire.NodeChange) -> None:
        self.rosters.hear(said)
        self.everywhere.hear_of(said.account)

    def _hear_bye(self, said: wire.Bye) -> None:
        self.nodes.left(said.node)

    def _hear_use(self, said: wire.Use) -> None:
        self._uses.hear(said)

    def _hear_resync(self, said: wire.Resync) -> None:
        self.rosters.tell_everything(said.node)

    # -- other nodes -----------------------------------------------------------------------------

    def suspect(self, node: str) -> None:
        """See :class:`happy.cluster.nodes.NodesOwner`."""

        def counted(listening: int | None) -> None:
            if listening == 0:
                self.nodes.lost(node)

        self._bus.subscribers(node_channel(node)).addCallbacks(counted, lambda lost: None)

    def appeared(self, node: str, *, again: bool) -> None:
        """See :class:`happy.cluster.nodes.NodesOwner`."""
        name = self._names[node] = self.called(node)
        self._log.info("Node {name} is there", event="node-joined", name=name)
        self._say_beat()  # A newcomer is to know this one before the first client comes.
        if again:
            self._outlet.to(node, wire.Resync(self.node))

    def returned(self, node: str) -> None:
        """See :class:`happy.cluster.nodes.NodesOwner`."""
        self.calls.died(node)

    def died(self, node: str, *, silent: bool) -> None:
        """See :class:`happy.cluster.nodes.NodesOwner`."""
        self.company.forget(node)
        name, what = self._names.pop(node, node), "does not answer" if silent else "has left"
        self._log.info("Node {name} {what}", event="node-left", name=name, what=what)
        self.calls.died(node)
        self._claims.died(node)
        self.rosters.drop(node)
        if silent:
            self._break_off()
            self.catch_up("dead")

    def deaf(self) -> None:
        """See :class:`happy.cluster.nodes.NodesOwner`."""
        self._log.warn("the bus is heard no longer: connecting anew")
        self._break_off()
        self._bus.cut()
        self.catch_up("deaf")
