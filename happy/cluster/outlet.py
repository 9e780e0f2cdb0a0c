"""What this node says to the others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.waiting import within
from happy.cluster import wire
from happy.cluster.bus import NODES, BusLost, account_channel, node_channel
from happy.cluster.room import LARGE, WAY_BYTES, Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.cluster.bus import Bus
    from happy.cluster.feed import Told
    from happy.metrics import Metrics

GOODBYE_SECONDS: Final = 0.5


class Outlet:
    """A node's voice. ``node`` is its id, ``room`` what accounts may make it say at a time.

    Hardly anybody waits for what is said. When an update or a signal may not have been heard, the others are
    told as soon as there is a way to tell them.
    """

    _log = Logger()

    def __init__(self, bus: Bus, node: str, clock: IReactorTime, metrics: Metrics) -> None:
        self._bus = bus
        self._counts = metrics.happy_bus_messages_total
        self._counted: dict[type[wire.NodeWord], Any] = {}
        self._clock = clock
        self.node = node
        self.room = Room(WAY_BYTES)
        self._unheard = False

    @property
    def up(self) -> bool:
        """Whether others hear anything at present."""
        return self._bus.up

    def update(self, told: Told) -> None:
        """Tell an update to the nodes that host its account."""
        audience, payload = told.audience, told.payload or b""
        account, size = audience.account, len(payload)
        said: wire.NodeWord
        if size <= self._bus.largest and self.takes(account, size):
            said = wire.NodeUpdate(
                self.node,
                account,
                told.seq,
                audience.session,
                audience.machine,
                told.skip,
                payload,
            )
        else:
            said, size = wire.Wake(self.node, account, told.seq), 0
        self.until_out(self._say(account_channel(account), said, self._not_heard), account, size)

    def about(self, account: str, said: wire.NodeWord) -> Deferred[None] | None:
        """Say something to the nodes that host an account; fires when it has gone out, or is lost."""
        return self._say(account_channel(account), said, self._lost)

    def signal(self, said: wire.NodeSignal) -> None:
        """Pass a signal on to the nodes that host its account."""
        self._say(account_channel(said.account), said, self._not_heard)

    def to(self, node: str, said: wire.NodeWord) -> Deferred[None] | None:
        """Say something to one node; as :meth:`about`."""
        return self._say(node_channel(node), said, self._lost)

    def ask(self, node: str, said: wire.NodeWord) -> Deferred[int | None]:
        """Say something to one node; fires and fails as :meth:`happy.cluster.bus.Bus.publish`."""
        if self._bus.up:
            self._count(said)
        return self._bus.publish(node_channel(node), wire.encode(said))

    def to_all(self, said: wire.NodeWord) -> None:
        """Say something to every node, whatever it speaks."""
        self._say(NODES, said, self._lost)

    async def leave(self) -> None:
        """Say goodbye, and wait a moment until it is out, and everything before it."""
        if self._bus.up:
            said = self._bus.publish(NODES, wire.encode(wire.Bye(self.node)))
            with suppress(TimeoutError, BusLost):
                await within(GOODBYE_SECONDS, said, self._clock)

    def back(self) -> None:
        """There is a way again."""
        if self._unheard:
            self._unheard = False
            self._say(NODES, wire.Look(self.node), self._not_heard)

    def takes(self, account: str, size: int) -> bool:
        """Whether an account may make this node say something of so many bytes now.

        Then :meth:`until_out` is to be called.
        """
        return size <= LARGE or self.room.take(account, size)

    def until_out(self, said: Deferred[Any] | None, account: str, size: int) -> None:
        """Let what was said count until it has gone out, or is lost."""
        if size <= LARGE:
            return
        if said is None:
            self.room.give_back(account, size)
        else:
            said.addBoth(self._out, account, size)

    def _out(self, outcome: Any, account: str, size: int) -> Any:
        self.room.give_back(account, size)
        return outcome

    def _count(self, said: wire.NodeWord) -> None:
        kind = type(said)
        counted = self._counted.get(kind)
        if counted is None:
            counted = self._counted[kind] = self._counts.labels("out", kind.__name__)
        counted.inc()

    def _say(
        self, channel: str, said: wire.NodeWord, failed: Callable[[Failure | None], None]
    ) -> Deferred[None] | None:
        if not self._bus.up:
            failed(None)
            return None
        self._count(said)
        return self._bus.publish(channel, wire.encode(said)).addCallbacks(_gone_out, failed)

    def _not_heard(self, failure: Failure | None) -> None:
        self._unheard = True
        self._lost(failure)

    def _lost(self, failure: Failure | None) -> None:
        error = None if failure is None else failure.value
        if error is not None and not isinstance(error, BusLost):
            self._log.error("Telling other nodes failed: {fault}", fault=describe_fault(error))


def _gone_out(_: int | None) -> None:
    """How many hear it matters to nobody."""
