"""The metrics port of a server with several workers: one page for all of them.

Whatever else is asked is answered by the first worker that has a good answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import treq
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request

from happy.base.waiting import within
from happy.service.monitoring import EXPOSITION
from happy.service.place import WorkerPlace
from happy.service.siblings import sibling_agent
from happy.service.watchers_site import answer_later
from happy.workers.page import merged, only

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twisted.python.failure import Failure

    from happy.metrics import Metrics

PATIENCE: Final = 5.0
"""Seconds that a worker has to answer."""

_PARENTS: Final = ("happy_worker", "happy_postgres_", "process_")
"""What the parent itself has to tell."""


class _Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


class WorkersResource(Resource):
    """Everything on the metrics port."""

    isLeaf = True

    def __init__(self, reactor: Any, metrics: Metrics, folder: Path, workers: Sequence[str]) -> None:
        super().__init__()
        self._reactor = reactor
        self._metrics = metrics
        self._workers = workers
        self._agent = sibling_agent(reactor, folder, WorkerPlace.METRICS, persistent=False)

    def render(self, request: Request) -> int:
        """Answer whatever is asked."""
        if request.path == b"/metrics" and request.method in (b"GET", b"HEAD"):
            return answer_later(request, self._metrics_page(request))
        return answer_later(request, self._first(request))

    async def _metrics_page(self, request: Request) -> bytes:
        answers = await gatherResults([self._ask(worker, request) for worker in self._workers])
        own = only(self._metrics.exposition().decode(), *_PARENTS)
        found = dict(zip(self._workers, answers, strict=True))
        pages = {worker: answer.body.decode() for worker, answer in found.items() if answer is not None}
        request.setHeader(b"content-type", EXPOSITION)
        return merged({"parent": own, **pages}).encode()

    async def _first(self, request: Request) -> bytes:
        """The first good answer, or the last of the others."""
        found = _Answer(503, Headers(), b"")
        for worker in self._workers:
            answer = await self._ask(worker, request)
            if answer is not None:
                found = answer
                if found.status < 400:
                    break
        request.setResponseCode(found.status)
        for name, values in found.headers.getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        return found.body

    def _ask(self, worker: str, request: Request) -> Deferred[_Answer | None]:
        """What a worker answers; None if it does not, since it is being replaced for example."""
        asking = Deferred.fromCoroutine(self._asked(worker, request))
        return within(PATIENCE, asking, self._reactor).addErrback(_nothing)

    async def _asked(self, worker: str, request: Request) -> _Answer:
        method = b"GET" if request.method == b"HEAD" else request.method
        answer = await self._agent.request(method, b"http://" + worker.encode() + request.uri)
        return _Answer(answer.code, answer.headers, await treq.content(answer))


def _nothing(failure: Failure) -> None:
    failure.trap(Exception)
