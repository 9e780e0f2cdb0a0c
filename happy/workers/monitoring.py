"""The metrics port of a server with several workers, which tells of all of them.

Whatever is not about numbers is answered by the first worker that has a good answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import treq
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request

from happy.base.rounds import Rounds
from happy.base.waiting import within
from happy.service.control import Impracticable
from happy.service.monitoring import EXPOSITION, JSON
from happy.service.place import WorkerPlace
from happy.service.siblings import sibling_agent
from happy.service.watchers_site import answer_later
from happy.workers import reports
from happy.workers.page import merged, only

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twisted.python.failure import Failure

    from happy.metrics import Metrics

PATIENCE: Final = 5.0
"""Seconds that a worker has to answer."""

LEARNED_EVERY: Final = 60.0
"""Seconds between two looks at what workers remember, of which one that ends takes its part along."""

_STATUS: Final = b"/status.json"
_HISTORY: Final = b"/history.json"

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
        self._began = reactor.seconds()
        self._histories = reports.Histories()
        self._learning = Rounds(
            "asking workers for the last hour", self._remember, reactor, seconds=LEARNED_EVERY, patience=60.0
        )
        self._agent = sibling_agent(reactor, folder, WorkerPlace.METRICS, persistent=False)

    def start(self) -> None:
        """Remember from now on what workers tell."""
        self._learning.start()

    def stop(self) -> None:
        """Ask them no more."""
        self._learning.stop()

    def render(self, request: Request) -> int:
        """Answer whatever is asked."""
        match request.method, request.path:
            case b"GET" | b"HEAD", b"/metrics":
                return answer_later(request, self._metrics_page(request))
            case b"GET" | b"HEAD", path if path == _STATUS:
                return answer_later(request, self._status(request))
        return answer_later(request, self._first(request))

    async def _metrics_page(self, request: Request) -> bytes:
        found = await self._every(b"/metrics")
        own = only(self._metrics.exposition().decode(), *_PARENTS)
        pages = {worker: answer.body.decode() for worker, answer in found.items() if answer is not None}
        request.setHeader(b"content-type", EXPOSITION)
        return merged({"parent": own, **pages}).encode()

    async def _status(self, request: Request) -> bytes:
        told = {worker: _content(answer) for worker, answer in (await self._every(_STATUS)).items()}
        for worker, content in told.items():
            if content is not None:
                self._histories.learn(worker, content["history"])
        try:
            status = reports.merged(
                {worker: content and content["status"] for worker, content in told.items()}
            )
        except Impracticable as why:
            request.setResponseCode(503)
            return str(why).encode()
        uptime = round((self._reactor.seconds() - self._began) * 1000)
        request.setHeader(b"content-type", JSON)
        return msgspec.json.encode(
            {"status": status | {"uptimeMs": uptime}, "history": self._histories.columns()}
        )

    async def _remember(self) -> None:
        for worker, answer in (await self._every(_HISTORY)).items():
            content = _content(answer)
            if content is not None:
                self._histories.learn(worker, content)

    async def _every(self, path: bytes) -> dict[str, _Answer | None]:
        """What each worker answers."""
        answers = await gatherResults([self._ask(worker, b"GET", path) for worker in self._workers])
        return dict(zip(self._workers, answers, strict=True))

    async def _first(self, request: Request) -> bytes:
        """The first good answer, or the last of the others."""
        found = _Answer(503, Headers(), b"")
        method = b"GET" if request.method == b"HEAD" else request.method
        for worker in self._workers:
            answer = await self._ask(worker, method, request.uri)
            if answer is not None:
                found = answer
                if found.status < 400:
                    break
        request.setResponseCode(found.status)
        for name, values in found.headers.getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        return found.body

    def _ask(self, worker: str, method: bytes, uri: bytes) -> Deferred[_Answer | None]:
        """What a worker answers; None if it does not, since it is being replaced for example."""
        asking = Deferred.fromCoroutine(self._asked(worker, method, uri))
        return within(PATIENCE, asking, self._reactor).addErrback(_nothing)

    async def _asked(self, worker: str, method: bytes, uri: bytes) -> _Answer:
        answer = await self._agent.request(method, b"http://" + worker.encode() + uri)
        return _Answer(answer.code, answer.headers, await treq.content(answer))


def _content(answer: _Answer | None) -> Any:
    """The document that a worker has sent; None if it has not."""
    return None if answer is None or answer.status != 200 else msgspec.json.decode(answer.body)


def _nothing(failure: Failure) -> None:
    failure.trap(Exception)
