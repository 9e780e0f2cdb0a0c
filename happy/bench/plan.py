"""How each scenario is run unless the command line says otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from happy.bench.load import Load
from happy.bench.population import Population

_PER_ADDRESS = 10_000
"""Sockets from one address: ports are few, and servers limit logins by address."""


@dataclass(frozen=True)
class Plan:
    """Defaults of a scenario. ``connections`` is how many sockets it opens when none are asked for."""

    help: str
    seconds: float
    connections: int = 0
    per_sender: int = 0
    warms_up: bool = False
    spreads: bool = False
    alone: bool = False

    def sockets(self, load: Load) -> int:
        """How many sockets the load needs at the same time, about."""
        if load.scenario == "profile":
            return Population.of(load.scale).sockets + 500
        if self.per_sender:
            return (load.senders or self.connections) * self.per_sender
        return (load.sockets or self.connections) + 64

    def workers(self, load: Load, room: int, cores: int) -> int:
        """How many processes make the load: half the cores where it spreads, and room for the sockets.

        One where a single observer must see everything.
        """
        if self.alone:
            return 1
        needed = math.ceil(self.sockets(load) / room)
        return max(needed, cores // 2 if self.spreads else 1, 1)

    def addresses(self, load: Load) -> int:
        """How many source addresses the sockets need."""
        return math.ceil(self.sockets(load) / _PER_ADDRESS)

    def warmup(self, seconds: float) -> float:
        """How long at the beginning does not count: whole seconds."""
        return float(min(2, int(seconds / 4))) if self.warms_up else 0.0


PLANS = {
    "messages": Plan(
        "durable messages through sockets or HTTP; each sender waits for its last one",
        seconds=10,
        connections=32,
        per_sender=3,
        warms_up=True,
        spreads=True,
    ),
    "fanout": Plan(
        "one account's update to many sockets, until the last has it",
        seconds=10,
        connections=1000,
        warms_up=True,
        alone=True,
    ),
    "rpc": Plan(
        "remote calls from callers to machines and back",
        seconds=10,
        connections=8,
        per_sender=2,
        warms_up=True,
        spreads=True,
    ),
    "history": Plan(
        "fill a session, then page through it both ways", seconds=600, connections=16, alone=True
    ),
    "profile": Plan(
        "everything at once, in the proportions of the hosted service", seconds=600, spreads=True
    ),
    "idle": Plan("hold sockets that do nothing; memory of each", seconds=5, connections=10_000),
    "connect": Plan(
        "a storm of connections with authentication, as after a restart",
        seconds=60,
        connections=10_000,
        spreads=True,
    ),
}
