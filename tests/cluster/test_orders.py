"""What the operator has done by all nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from happy.cluster import orders
from tests.cluster.several import SeveralCase


class OrderTests(SeveralCase):
    """The first node gives orders, the others carry them out."""

    async def setUp(self) -> None:
        await super().setUp()
        self.first, self.second, self.third = (node.cluster.orders for node in self.nodes)
        await self.until(lambda: all(len(node.cluster.nodes.known) == 2 for node in self.nodes))

    async def test_answers(self) -> None:
        """What came of it is known by the names of nodes; one that failed is named, and says why."""
        said: list[LogEvent] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)

        async def double(what: str, members: Mapping[str, Any]) -> Any:
            return [what, members["number"] * 2]

        async def fail(what: str, members: Mapping[str, Any]) -> Any:
            raise RuntimeError

        self.second.obey, self.third.obey = double, fail
        self.assertEqual(await self.first.give("double", {"number": 4}), ({"b": ["double", 8]}, ["c"]))
        failures = [event for event in said if event.get("log_source") is self.third]
        self.assertEqual(len(failures), 1)

    async def test_silence(self) -> None:
        """Nobody waits for long for a node that does not answer, nor for one that cannot be told."""
        self.patch(orders, "PATIENCE", 0.05)

        async def brood(what: str, members: Mapping[str, Any]) -> Any:
            await Deferred()

        self.second.obey = brood
        self.assertEqual(await self.first.give("brood", {}), ({}, ["b", "c"]))
        self.assertEqual(self.first._awaited, {})
        self.engine.leave()
        self.assertEqual(await self.first.give("brood", {}), ({}, [orders.OTHERS]))

    async def test_bound(self) -> None:
        """Of too many orders at once the others are not carried out."""
        self.patch(orders, "PATIENCE", 0.05)
        self.patch(orders, "AT_ONCE", 1)
        begun: list[str] = []

        async def brood(what: str, members: Mapping[str, Any]) -> Any:
            begun.append(what)
            await Deferred()

        self.second.obey = brood
        for what in "xy":
            await self.first.give(what, {})
        self.assertEqual(begun, ["x"])
