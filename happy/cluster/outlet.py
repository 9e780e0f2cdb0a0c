"""What this node says to the others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, TimeoutError

from happy.base.waiting import within
from happy.cluster import wire
from happy.cluster.bus import NODES, BusLost, account_channel, node_channel
from happy.cluster.room import LARGE, WAY_BYTES, Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from happy.cluster.bus import Bus
    from happy.cluster.feed import Told
    from happy.metrics import Metrics

GOODBYE_SECONDS: Final = 0.5


class Outlet:
    """A node's voice. ``node`` is its id, ``room`` what accounts may make it say at a time.

    Hardly anybody waits for what is said. When an update or a signal may not have been heard, the others are
    told as soon as there is a way to tell them.
    """

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
        if isinstance(payload, bytes) and (
            size <= LARGE or (size <= self._bus.largest and self.room.take(account, size))
        ):
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
        self._say(account_channel(account), said, _it_does_not_matter, self._not_heard, account, size)

    def about(self, account: str, said: wire.NodeWord) -> Deferred[None] | None:
        """Say something to the nodes that host an account; fires when it has gone out, or is lost."""
        return self._until_out(account_channel(account), said)

    def signal(self, said: wire.NodeSignal) -> None:
        """Pass a signal on to the nodes that host its account."""
        self._say(account_channel(said.account), said, _it_does_not_matter, self._not_heard)

    def to(self, node: str, said: wire.NodeWord, account: str = "", size: int = 0) -> None:
        """Say something to one node, for which an account took so many bytes (:meth:`takes`)."""
        self._say(node_channel(node), said, _it_does_not_matter, _it_does_not_matter, account, size)

    def until_told(self, node: str, said: wire.NodeWord) -> Deferred[None] | None:
        """Say something to one node; fires as :meth:`about`."""
        return self._until_out(node_channel(node), said)

    def ask(
        self,
        node: str,
        said: wire.NodeWord,
        out: Callable[[int | None], object],
        lost: Callable[[], object],
        account: str = "",
        size: int = 0,
    ) -> None:
        """As :meth:`to`; calls ``out`` or ``lost`` as :meth:`happy.cluster.bus.Bus.say` does."""
        self._say(node_channel(node), said, out, lost, account, size)

    def to_all(self, said: wire.NodeWord) -> None:
        """Say something to every node, whatever it speaks."""
        self._say(NODES, said, _it_does_not_matter, _it_does_not_matter)

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
            self._say(NODES, wire.Look(self.node), _it_does_not_matter, self._not_heard)

    def takes(self, account: str, size: int) -> bool:
        """Whether an account may make this node say something of so many bytes now.

        Then it is to be said, with this account and size, which count until it has gone out or is lost.
        """
        return size <= LARGE or self.room.take(account, size)

    def _count(self, said: wire.NodeWord) -> None:
        kind = type(said)
        counted = self._counted.get(kind)
        if counted is None:
            counted = self._counted[kind] = self._counts.labels("out", kind.__name__)
        counted.inc()

    def _say(
        self,
        channel: str,
        said: wire.NodeWord,
        out: Callable[[int | None], object],
        lost: Callable[[], object],
        account: str = "",
        size: int = 0,
    ) -> None:
        if not self._bus.up:
            self._release(account, size)
            lost()
            return
        self._count(said)
        if size > LARGE:
            self._bus.publish(channel, wire.encode(said)).addBoth(self._out, account, size).addCallbacks(
                out, lambda failure: lost()
            )
        else:
            self._bus.say(channel, wire.encode(said), out, lost)

    def _until_out(self, channel: str, said: wire.NodeWord) -> Deferred[None] | None:
        if not self._bus.up:
            return None
        self._count(said)
        return self._bus.publish(channel, wire.encode(said)).addCallbacks(
            _it_does_not_matter, _it_does_not_matter
        )

    def _out(self, outcome: Any, account: str, size: int) -> Any:
        self._release(account, size)
        return outcome

    def _release(self, account: str, size: int) -> None:
        if size > LARGE:
            self.room.give_back(account, size)

    def _not_heard(self) -> None:
        self._unheard = True


def _it_does_not_matter(_: object = None) -> None:
    """How many hear it, or whether anybody does."""
