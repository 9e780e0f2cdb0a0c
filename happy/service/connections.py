"""What kind of connections a server has: those that take the short ways, and are watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import tcp

from happy.base.threads import share_evenly
from happy.service.eager import EagerClient, EagerServer, eager_kind
from happy.service.gauges import Stalls
from happy.service.turns import Turns, poll_directly
from happy.storage.connection import Connection

if TYPE_CHECKING:
    from happy.base.pace import Pace
    from happy.metrics import Metrics
    from happy.service.lifecycle import Lifecycle


class Connections:
    """The kinds of connections of one server. ``accepted`` is that of its ports.

    Without ``shortcuts`` they are Twisted's own.
    """

    def __init__(self, reactor: Any, pace: Pace, *, shortcuts: bool) -> None:
        self._reactor = reactor
        self._pace = pace
        self._shortcuts = shortcuts
        self._turns = Turns(reactor)
        self._opened = eager_kind(EagerClient, self._turns, pace)
        self.accepted: type[tcp.Server] = tcp.Server
        if shortcuts:
            self.accepted = eager_kind(EagerServer, self._turns, pace)

    def hasten(self, transport: Any) -> None:
        """Let a TCP connection that was opened here take the short ways; anything else stays as it is."""
        if self._shortcuts and type(transport) is tcp.Client:
            transport.__class__ = self._opened

    def watch(self, metrics: Metrics, lifecycle: Lifecycle) -> None:
        """Let the reactor's turns be timed from now on, and take short ways where that is known to work.

        Threads do not keep the reactor from its turns for long.
        """
        lifecycle.started("short turns of threads", share_evenly(), 0.1)
        stalls = Stalls(metrics, self._reactor)
        lifecycle.started("watching the reactor", stalls.stop, 0.1)
        if self._shortcuts:
            kinds = (self.accepted, self._opened, Connection)
            undo = poll_directly(self._reactor, self._turns, kinds, self._pace, stalls.took)
            lifecycle.started("direct polling", undo, 0.1)
        if not self._turns.ended_by_reactor:
            stalls.start()
