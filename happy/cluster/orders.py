"""What the operator asks of one node, and has done by all of them.

An order is said to every node, and each says what came of it. The operator waits for that, and not for long:
who does not answer is named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import msgspec
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.waiting import within
from happy.cluster import wire

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.cluster.nodes import Nodes
    from happy.cluster.outlet import Outlet

PATIENCE: Final = 1.0
"""Seconds that nodes have for an answer."""

AT_ONCE: Final = 100
"""Orders that are carried out here at a time; of more nobody hears what came."""

OTHERS: Final = "the other nodes"
"""Who has heard nothing while the bus is away."""


async def _not_yet(what: str, members: Mapping[str, Any]) -> None:
    """Nothing is carried out by a node that is still being started."""


class Orders:
    """Gives orders to the other nodes, and carries out theirs.

    ``obey`` does what an order says, by its name and members, and answers what becomes JSON.
    """

    obey: Callable[[str, Mapping[str, Any]], Awaitable[Any]] = staticmethod(_not_yet)

    _log = Logger()

    def __init__(
        self, outlet: Outlet, nodes: Nodes, clock: IReactorTime, called: Callable[[str], str]
    ) -> None:
        """``called`` tells the name of a node."""
        self._called = called
        self._outlet = outlet
        self._nodes = nodes
        self._clock = clock
        self._numbers = count(1)
        self._awaited: dict[tuple[str, int], Deferred[Any]] = {}
        self._under_way = 0

    async def give(self, what: str, members: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What came of it at other nodes, by their names; and of whom that is not known."""
        if not self._outlet.up:
            return {}, [OTHERS]
        found: dict[str, Any] = {}
        silent = set()
        for node, came in (await self._give(what, members)).items():
            name = self._called(node)
            if came is None:
                silent.add(name)
            else:  # a namesake's answer is none the less one
                found[f"{name} ({node})" if name in found else name] = came
        return found, sorted(silent)

    async def _give(self, what: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """What came of it at each other node, by its id; None where that is not known."""
        number, nodes = next(self._numbers), list(self._nodes.known)
        answers = [self._answer(node, number) for node in nodes]
        self._outlet.to_all(wire.Order(self._outlet.node, number, what, msgspec.json.encode(members)))
        return dict(zip(nodes, await gatherResults(answers), strict=True))

    def _answer(self, node: str, number: int) -> Deferred[Any]:
        key = node, number
        answer = self._awaited[key] = Deferred()

        def over(result: Any) -> Any:
            del self._awaited[key]
            return result

        return within(PATIENCE, answer, self._clock).addErrback(_unknown).addBoth(over)

    def hear(self, said: wire.Obeyed) -> None:
        """A node says what came of an order; None is a failure there."""
        answer = self._awaited.get((said.node, said.number))
        if answer is not None and not answer.called:
            answer.callback(None if said.result is None else msgspec.json.decode(said.result))

    def serve(self, said: wire.Order) -> None:
        """Another node gives an order."""
        if self._under_way < AT_ONCE:
            self._under_way += 1
            Deferred.fromCoroutine(self._carry_out(said)).addBoth(self._done)

    async def _carry_out(self, said: wire.Order) -> None:
        result = None
        try:
            result = msgspec.json.encode(await self.obey(said.what, msgspec.json.decode(said.members)))
        except Exception as error:
            self._log.error("An order of another node failed: {fault}", fault=describe_fault(error))
        self._outlet.to(said.node, wire.Obeyed(self._outlet.node, said.number, result))

    def _done(self, _: object) -> None:
        self._under_way -= 1


def _unknown(failure: Any) -> None:
    failure.trap(TimeoutError)
