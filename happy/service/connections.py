"""What kind of connections ports of TCP make: those that take the short ways, and are watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import tcp

from happy.service.eager import eager_kind
from happy.service.gauges import Stalls
from happy.service.turns import Turns, poll_directly

if TYPE_CHECKING:
    from happy.base.pace import Pace
    from happy.metrics import Metrics
    from happy.service.lifecycle import Lifecycle
    from happy.settings.config import Config


def kind_of_connections(
    config: Config, metrics: Metrics, reactor: Any, lifecycle: Lifecycle, pace: Pace
) -> type[tcp.Server]:
    """The kind that the configuration asks for; the reactor's turns are timed from then on."""
    stalls = Stalls(metrics, reactor)
    lifecycle.started("watching the reactor", stalls.stop, 0.1)
    turns = Turns(reactor)
    kind: type[tcp.Server] = tcp.Server
    if config.shortcuts:
        kind = eager_kind(turns)
        undo = poll_directly(reactor, turns, kind, stalls.took, pace.begin)
        pace.told = turns.ended_by_reactor
        lifecycle.started("direct polling", undo, 0.1)
    if not turns.ended_by_reactor:
        stalls.start()
    return kind
