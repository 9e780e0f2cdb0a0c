"""The control socket of a server with several workers: what is asked is asked of all, and answered as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

import msgspec
import treq
from twisted.internet.defer import Deferred, FirstError, TimeoutError, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from happy.base.waiting import within
from happy.service.control import NAME, Impracticable, Instruction, flag
from happy.service.siblings import sibling_agent
from happy.workers.reports import merged

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE: Final = 20.0
"""Seconds in which a worker has to answer, also one that is being replaced meanwhile."""

LOOK_PATIENCE: Final = 3.0
"""The same for the status, which says who does not answer."""

_STEP: Final = 0.1
"""Seconds between attempts to reach a worker."""


class ControlledWorkers:
    """The workers as one server. ``drained`` is told whether further workers are to take no sockets."""

    def __init__(
        self, reactor: Any, folder: Path, workers: Sequence[str], drained: Callable[[bool], None]
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._drained = drained
        self._began = reactor.seconds()
        self._agent = sibling_agent(reactor, folder, NAME, persistent=False)

    def instructions(self) -> dict[tuple[str, str], Instruction]:
        """What the control socket offers: as that of one server (:mod:`happy.service.instructions`)."""
        return {
            ("GET", "/status"): self._status,
            ("GET", "/drain"): self._left,
            ("POST", "/drain"): self._drain,
            ("POST", "/access"): self._look,
            ("POST", "/push"): self._push,
        }

    async def _status(self, members: Mapping[str, Any]) -> dict[str, Any]:
        asked = [self._ask(worker, "GET", "/status", {}, LOOK_PATIENCE) for worker in self._workers]
        answers = await gatherResults([asking.addErrback(_unknown) for asking in asked])
        found = dict(zip(self._workers, answers, strict=True))
        uptime = round((self._reactor.seconds() - self._began) * 1000)
        return merged(found) | {"uptimeMs": uptime}

    async def _left(self, members: Mapping[str, Any]) -> dict[str, int]:
        return {"left": sum(answer["left"] for answer in await self._all("GET", "/drain", members))}

    async def _drain(self, members: Mapping[str, Any]) -> dict[str, Any]:
        everywhere = flag(members, "everywhere", default=False)
        self._drained(flag(members, "draining", default=True))
        answers = await self._all("POST", "/drain", members, everywhere=everywhere)
        nodes = {name: left for answer in answers for name, left in answer["nodes"].items()}
        return {"left": sum(nodes.values()), "nodes": nodes, "silent": _silent(answers, nodes)}

    async def _look(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """Whoever is first to close a socket counts it."""
        everywhere = flag(members, "everywhere", default=True)
        answers = await self._all("POST", "/access", members, everywhere=everywhere)
        nodes: Counter[str] = Counter()
        for answer in answers:
            nodes.update(answer["nodes"])
        return {"closed": nodes.total(), "nodes": dict(nodes), "silent": _silent(answers, nodes)}

    async def _push(self, members: Mapping[str, Any]) -> Any:
        """Any worker sends notifications."""
        return await self._ask(self._workers[0], "POST", "/push", members, PATIENCE)

    async def _all(
        self, method: str, path: str, members: Mapping[str, Any], *, everywhere: bool = False
    ) -> list[Any]:
        """What each worker answers; the first passes it on to nodes elsewhere. Raises Impracticable."""
        asked = [
            self._ask(worker, method, path, {**members, "everywhere": everywhere and first}, PATIENCE)
            for worker, first in zip(self._workers, chain([True], repeat(False)), strict=False)
        ]
        try:
            return list(await gatherResults(asked, consumeErrors=True))
        except FirstError as error:
            error.subFailure.raiseException()

    def _ask(
        self, worker: str, method: str, path: str, members: Mapping[str, Any], seconds: float
    ) -> Deferred[Any]:
        """What a worker answers. Fails with Impracticable."""
        asking = Deferred.fromCoroutine(self._asked(worker, method, path, members))
        return within(seconds, asking, self._reactor).addErrback(_told, worker)

    async def _asked(self, worker: str, method: str, path: str, members: Mapping[str, Any]) -> Any:
        """One that is just being replaced is asked until it is there: every instruction may be repeated."""
        url, body = f"http://{worker}{path}", msgspec.json.encode(members)
        while True:
            try:
                answer = await treq.request(method, url, data=body, agent=self._agent)
                found = msgspec.json.decode(await treq.content(answer))
            except (ConnectError, ConnectionClosed, OSError, ResponseFailed):
                await deferLater(self._reactor, _STEP)
                continue
            if answer.code != 200:
                raise Impracticable(found["error"])
            return found


def _silent(answers: Sequence[Mapping[str, Any]], nodes: Container[str]) -> list[str]:
    """The nodes of which it is not known what came of it."""
    return [name for answer in answers for name in answer["silent"] if name not in nodes]


def _unknown(failure: Failure) -> None:
    failure.trap(Impracticable)


def _told(failure: Failure, worker: str) -> Failure:
    """Nobody who is asked would know more of it."""
    if failure.check(TimeoutError):
        raise Impracticable(f"{worker} does not answer") from None
    return failure
