"""What the nodes know of each other's clients: told when it changes, so that nobody has to ask.

What changes within a turn of the reactor is told in one message after it. What nobody told is absent: a
method that is not known yet is waited for, and a notification is sent rather than not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred, TimeoutError

from happy.base.waiting import relayed, within
from happy.cluster import wire
from happy.cluster.hosting import NO_MACHINES
from happy.realtime.updates import MachineActivity, devices_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from happy.base.clocks import Now
    from happy.cluster.hosting import Hosted, Hosting
    from happy.cluster.outlet import Outlet
    from happy.realtime.calls import Calls
    from happy.realtime.client import Client
    from happy.realtime.hub import Hub

OFFLINE_AFTER_SECONDS: Final = 5.0
"""How long machines of a node that is gone may stay away before they are reported offline (D-22)."""

STATES_AT_ONCE: Final = 500
"""Accounts of which everything is told in one turn of the reactor."""

MOST_TELLING: Final = 4 * 1024 * 1024
"""Characters of names that may be on their way when everything is told of a further account."""

TELLING_SECONDS: Final = 0.02
"""How soon it is looked whether they have gone out."""

SAID_SECONDS: Final = 0.25
"""How long it may take until something has gone out; nobody waits for longer."""


class Stops(Protocol):
    """The sessions whose heartbeats are ignored for a while."""

    def stopped(self, account: str) -> dict[str, float]:
        """Those of an account, each with the seconds that are left."""

    def hear_stop(self, account: str, session: str, seconds: float) -> None:
        """Another node ignores a session's heartbeats for so long; not any more, for 0."""


class Rosters:
    """Tells other nodes of clients here, as the hub's observer, and hears of theirs."""

    hosting: Hosting
    calls: Calls
    stops: Stops

    def __init__(self, hub: Hub, outlet: Outlet, clock: IReactorTime, now: Now) -> None:
        self._hub = hub
        self._outlet = outlet
        self._clock = clock
        self._now = now
        self._changed: dict[str, dict[str, int | None]] = {}
        self._asking: dict[str, Hosted] = {}
        self._asked: dict[tuple[str, str], None] = {}
        """Which nodes want to know everything of which accounts."""
        self._telling = 0
        self._due = False
        self._leaving: dict[IDelayedCall, None] = {}

    def stop(self) -> None:
        """Report nobody offline any more."""
        for timer in self._leaving:
            if timer.active():
                timer.cancel()
        self._leaving.clear()

    # -- what changes here ------------------------------------------------------------------------

    def joined(self, client: Client) -> None:
        """See :class:`happy.realtime.broadcaster.Observer`."""
        self._change(client.account)

    def left(self, client: Client) -> None:
        """See :class:`happy.realtime.broadcaster.Observer`."""
        self._change(client.account)

    def looked(self, client: Client) -> None:
        """See :class:`happy.realtime.broadcaster.Observer`."""
        self._change(client.account)

    def method(self, account: str, method: str, rank: int | None) -> None:
        """A method is offered here, or, without a rank, not any more."""
        self._change(account)[method] = rank

    def tell_stop(self, account: str, session: str, seconds: float) -> Deferred[None] | None:
        """A session's heartbeats are ignored for so long, or not any more.

        Whoever is answered after it has gone out may send the next heartbeat to another node.
        """
        said = self._outlet.about(account, wire.Stop(self._outlet.node, account, session, seconds))
        return said and within(SAID_SECONDS, relayed(said), self._clock).addErrback(_not_yet)

    def needed(self, hosted: Hosted) -> bool:
        """Whether an account still has to be hosted."""
        self._change(hosted.account)  # Clients that were expected back may be so no longer.
        return self._hub.needed(hosted.account)

    def _change(self, account: str) -> dict[str, int | None]:
        self._soon()
        return self._changed.setdefault(account, {})

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self._clock.callLater(TELLING_SECONDS if self._telling > MOST_TELLING else 0, self._tell)

    def _tell(self) -> None:
        self._due = False
        for account in list(islice(self._asking, STATES_AT_ONCE)):
            if self._telling <= MOST_TELLING:
                self.tell(account)
        for asked in list(islice(self._asked, STATES_AT_ONCE)):
            if self._telling <= MOST_TELLING:
                del self._asked[asked]
                self._answer(*asked)
        for account in list(self._changed):
            if account not in self._asking:
                self.tell(account)
        if self._asking or self._asked:
            self._soon()

    def _answer(self, node: str, account: str) -> None:
        hosted = self.hosting.get(account)
        if hosted is not None and hosted.waiting is None:
            self._tell_everything(self._state(hosted, ask=False), node)

    def _tell_everything(self, state: wire.NodeState, node: str | None = None) -> None:
        """Of an account, to one node or to all that host it."""
        if node is None:
            said = self._outlet.about(state.account, state)
        else:
            said = self._outlet.until_told(node, state)
        if said is not None:
            names = chain(state.machines, state.methods, state.stopped)
            size = sum(map(len, names))
            self._telling += size
            said.addBoth(self._told_everything, size)

    def _told_everything(self, _: object, size: int) -> None:
        self._telling -= size

    def tell(self, account: str) -> None:
        """Tell at once what has changed of an account, or everything if the others are to be asked."""
        asking, methods = self._asking.pop(account, None), self._changed.pop(account, {})
        hosted = self.hosting.get(account)
        if hosted is None:
            return
        if asking is hosted:
            hosted.asked = self._clock.seconds()
            hosted.seen, hosted.machines = self._look(account)
            self._tell_everything(self._state(hosted, ask=True))
        else:
            self._tell_changes(hosted, methods)

    def _tell_changes(self, hosted: Hosted, methods: dict[str, int | None]) -> None:
        users, machines = self._look(hosted.account)
        came, went = machines - hosted.machines, hosted.machines - machines
        if users == hosted.seen and not (came or went or methods):
            return
        hosted.seen, hosted.machines = users, machines
        said = wire.NodeChange(
            self._outlet.node,
            hosted.account,
            *users,
            list(came),
            list(went),
            {method: rank for method, rank in methods.items() if rank is not None},
            [method for method, rank in methods.items() if rank is None],
        )
        self._outlet.about(hosted.account, said)

    def _look(self, account: str) -> tuple[tuple[bool, bool], frozenset[str]]:
        """What there is here of users and machines."""
        users = self._hub.has_users(account), self._hub.viewing(account)
        return users, frozenset(self._hub.machines(account)) or NO_MACHINES

    def _state(self, hosted: Hosted, *, ask: bool) -> wire.NodeState:
        """Everything. Said to a single node, it leaves to be told to all what has changed."""
        users, machines = self._look(hosted.account)
        return wire.NodeState(
            self._outlet.node,
            hosted.account,
            ask,
            *users,
            list(machines),
            self.calls.offered(self._hub.everybody(hosted.account)),
            self.stops.stopped(hosted.account),
        )

    # -- whom it is told -------------------------------------------------------------------------

    def ask(self, hosted: Hosted) -> None:
        """Tell everything of an account, and have the others do so; in the next turn, or a later one."""
        self._soon()
        hosted.asked = None
        self._asking[hosted.account] = hosted

    def tell_everything(self, node: str) -> None:
        """Another node knows nothing of this one any more: tell it, in this turn and those after it."""
        self._tell_next(node, iter(self.hosting))

    def _tell_next(self, node: str, accounts: Iterator[Hosted]) -> None:
        some = list(islice(accounts, STATES_AT_ONCE))
        self._asked.update(dict.fromkeys((node, hosted.account) for hosted in some))
        if some:
            self._soon()
            self._clock.callLater(0, self._tell_next, node, accounts)

    def leave(self, hosted: Hosted) -> None:
        """An account is not hosted any longer."""
        self._outlet.about(hosted.account, wire.Unhosted(self._outlet.node, hosted.account))

    # -- what the others tell --------------------------------------------------------------------

    def hear(self, said: wire.NodeState | wire.NodeChange) -> None:
        """Another node tells what it has."""
        hosted = self.hosting.get(said.account)
        if hosted is None:
            return
        former = hosted.roster.hear(said)
        if isinstance(said, wire.NodeState):
            for session, seconds in said.stopped.items():
                self.stops.hear_stop(said.account, session, seconds)
            if former is not None:
                self._announce(said.account, former.machines.symmetric_difference(said.machines))
            if said.ask:
                self._asked[said.node, said.account] = None
                self._soon()
        self.calls.hear(said.account, said.methods if isinstance(said, wire.NodeState) else said.offered)

    def hear_stop(self, said: wire.Stop) -> None:
        """Another node stops a session, or resumes it."""
        self.stops.hear_stop(said.account, said.session, said.seconds)

    def hear_gone(self, said: wire.Unhosted) -> None:
        """Another node does not host an account any longer."""
        hosted = self.hosting.get(said.account)
        if hosted is not None:
            hosted.roster.drop(said.node)

    def set_aside(self) -> None:
        """Nothing that the others told is certain any more."""
        for hosted in self.hosting:
            hosted.roster.set_aside()

    def drop(self, node: str) -> None:
        """A node is gone; of its machines users hear when they have not come back soon."""
        missing = []
        for hosted in self.hosting:
            peer = hosted.roster.drop(node)
            if peer.machines:
                missing.append((hosted.account, peer.machines))
        if missing:
            self._leaving = {timer: None for timer in self._leaving if timer.active()}
            self._leaving[self._clock.callLater(OFFLINE_AFTER_SECONDS, self._stayed_away, missing)] = None

    def _stayed_away(self, missing: Iterable[tuple[str, set[str]]]) -> None:
        for account, machines in missing:
            self._announce(account, [machine for machine in machines if not self._has(account, machine)])

    def _announce(self, account: str, machines: Iterable[str]) -> None:
        """Tell the users here how it is with machines; each node tells its own."""
        now = int(self._now() * 1000)
        for machine in machines:
            told = MachineActivity(id=machine, active=self._has(account, machine), active_at=now)
            self._hub.signal(devices_of(account), told)

    def _has(self, account: str, machine: str) -> bool:
        hosted = self.hosting.get(account)
        elsewhere = hosted is not None and hosted.roster.has_machine(machine)
        return elsewhere or self._hub.machine_connected(account, machine)


def _not_yet(failure: Failure) -> None:
    failure.trap(TimeoutError)
