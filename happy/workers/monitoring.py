"""The metrics port of a server with several workers: one page for all of them.

Whatever else is asked is answered by the first worker that has a good answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import treq
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from happy.base.errors import StartupError
from happy.base.waiting import within
from happy.service.monitoring import EXPOSITION, JSON, MonitoringSite
from happy.service.place import WorkerPlace
from happy.service.siblings import sibling_agent
from happy.settings.endpoints import tcp
from happy.workers.page import merged, only

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort

    from happy.metrics import Metrics
    from happy.settings.config import Config

PATIENCE: Final = 5.0
"""Seconds that a worker has to answer."""

_PARENTS: Final = ("happy_worker", "happy_postgres_", "process_")
"""What the parent itself has to tell."""

_log = Logger()


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
        answering = self._metrics_page(request) if request.path == b"/metrics" else self._first(request)
        doing = Deferred.fromCoroutine(answering)
        request.notifyFinish().addErrback(lambda _: doing.cancel())
        doing.addCallback(_finish, request)
        doing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return NOT_DONE_YET

    async def _metrics_page(self, request: Request) -> bytes:
        asked = [self._ask(worker, request) for worker in self._workers]
        answers = await gatherResults(asked)
        own = only(b"".join(self._metrics.pieces()).decode(), *_PARENTS)
        found = dict(zip(self._workers, answers, strict=True))
        pages = {worker: answer[1].decode() for worker, answer in found.items() if answer is not None}
        request.setHeader(b"content-type", EXPOSITION)
        return merged({"parent": own, **pages}).encode()

    async def _first(self, request: Request) -> bytes:
        """The first good answer, or the last of the others."""
        status, body = 503, b""
        for worker in self._workers:
            answer = await self._ask(worker, request)
            if answer is not None:
                status, body = answer
                if status < 400:
                    break
        request.setResponseCode(status)
        request.setHeader(b"content-type", JSON)
        return body

    def _ask(self, worker: str, request: Request) -> Deferred[tuple[int, bytes] | None]:
        """A worker's status and body; None if it does not answer, since it is being replaced for example."""
        asking = Deferred.fromCoroutine(self._asked(b"http://" + worker.encode() + request.uri))
        asking = within(PATIENCE, asking, self._reactor)
        return asking.addErrback(lambda failure: failure.trap(Exception) and None)

    async def _asked(self, url: bytes) -> tuple[int, bytes]:
        answer = await self._agent.request(b"GET", url)
        return answer.code, await treq.content(answer)


class WorkersMonitoring:
    """The listener, if there is to be one."""

    def __init__(
        self, config: Config, reactor: Any, metrics: Metrics, folder: Path, workers: Sequence[str]
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._site = MonitoringSite(WorkersResource(reactor, metrics, folder, workers), reactor=reactor)
        self._site.displayTracebacks = False
        self._port: IListeningPort | None = None

    async def start(self) -> None:
        """Listen. Raises StartupError."""
        if not self._config.metrics_enabled:
            return
        address = tcp(self._config.metrics_host, self._config.metrics_port)
        try:
            self._port = await serverFromString(self._reactor, address).listen(self._site)
        except CannotListenError as error:
            raise StartupError(f"metrics-port: cannot listen: {error.socketError}") from None

    async def stop(self) -> None:
        """Stop listening; connections end with the process."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)


def _finish(body: bytes, request: Request) -> None:
    request.setHeader(b"content-length", str(len(body)).encode())
    if request.method != b"HEAD":
        request.write(body)
    request.finish()
