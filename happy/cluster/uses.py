"""Limits of how often something may be done, that count for all nodes together.

A node tells what it admitted, and counts what others did. What the bus loses is not counted elsewhere: then a
limit is as many times as high as there are nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from happy.cluster import wire

if TYPE_CHECKING:
    from happy.cluster.outlet import Outlet


class Counting(Protocol):
    """Counts uses of a key; ``tell`` is told of each that was admitted here."""

    tell: Callable[[str], None]

    def count(self, key: str) -> int:
        """Count one that was admitted elsewhere."""


class SharedUses:
    """Those counts that are shared, by the names that nodes have for them."""

    def __init__(self, outlet: Outlet, counts: Mapping[str, Counting]) -> None:
        self._outlet = outlet
        self._counts = counts
        for what, count in counts.items():
            count.tell = partial(self._tell, what)

    def _tell(self, what: str, key: str) -> None:
        self._outlet.to_all(wire.Use(self._outlet.node, what, key))

    def hear(self, said: wire.Use) -> None:
        """Another node admitted something; what this one does not count it leaves."""
        if said.what in self._counts:
            self._counts[said.what].count(said.key)
