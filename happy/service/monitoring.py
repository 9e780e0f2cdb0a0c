"""The listener for Prometheus, and what is measured at intervals.

``GET /metrics`` and ``GET /health`` on a port of their own (http.md 11), with ``GET /live`` (the reactor
turns), ``GET /ready`` (503 with reasons when clients should not be sent here) and, at ``/``, a page for
people: not for clients, by default only reachable from this machine.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from happy.base.redaction import describe_fault
from happy.base.rounds import Rounds
from happy.service.turns import LONG
from happy.settings.endpoints import tcp

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from happy.base.clocks import Now
    from happy.metrics import Metrics
    from happy.service.history import History
    from happy.service.readiness import Readiness
    from happy.service.status import Status
    from happy.settings.config import Config

T = TypeVar("T")

JSON = b"application/json; charset=utf-8"
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
SLICE: Final = 0.005
"""Seconds of a turn of the reactor in which metrics are written."""
COUNT_INTERVAL = 60.0
FOLDER = Path(__file__).parent / "page"
PAGE = {
    b"/": ("index.html", "text/html"),
    b"/status.css": ("status.css", "text/css"),
    b"/status.js": ("status.js", "text/javascript"),
}
"""Files of the page for people, each with its type."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

COUNT_PATIENCE = 1.0
"""Seconds that Prometheus waits for numbers that have to be counted; what is known before has to do then."""
LAG_INTERVAL = 0.25
STANDSTILL = 1.0
"""Seconds of one turn of the reactor from which on it is said in the log."""

_log = Logger()


class MonitoringResource(Resource):
    """Everything on the metrics port."""

    isLeaf = True

    def __init__(
        self,
        metrics: Metrics,
        now: Now,
        clock: IReactorTime,
        readiness: Readiness,
        status: Status,
        history: History,
    ) -> None:
        super().__init__()
        self._history = history
        self._metrics = metrics
        self._now = now
        self._clock = clock
        self._readiness = readiness
        self._status = status

    def render(self, request: Request) -> bytes | int:
        """Answer whatever is asked."""
        match request.method, request.path:
            case b"GET" | b"HEAD", b"/metrics":
                return _later(request, self._exposition(request))
            case b"GET" | b"HEAD", b"/health":
                return _json(request, {"status": "ok", "timestamp": self._timestamp()})
            case b"GET" | b"HEAD", b"/live":
                return _json(request, {"live": True})
            case b"GET" | b"HEAD", b"/ready":
                return _later(request, self._ready(request))
            case b"GET" | b"HEAD", b"/status.json":
                return _later(request, self._report(request))
            case b"GET" | b"HEAD", path if path in PAGE:
                return _page(request, *PAGE[path])
        request.setResponseCode(404)
        asked = f"{request.method.decode('latin-1')}:{request.uri.decode('latin-1')}"
        return _json(
            request, {"message": f"Route {asked} not found", "error": "Not Found", "statusCode": 404}
        )

    async def _exposition(self, request: Request) -> bytes:
        await self._status.count(COUNT_PATIENCE)
        body = await self._in_turns(self._metrics.pieces())
        request.setHeader(b"content-type", EXPOSITION)
        return body

    async def _in_turns(self, pieces: Iterable[bytes]) -> bytes:
        """Put pieces together, for a moment in each turn of the reactor."""
        written: list[bytes] = []
        end = self._clock.seconds() + SLICE
        for piece in pieces:
            written.append(piece)
            if self._clock.seconds() >= end:
                await deferLater(self._clock, 0)
                end = self._clock.seconds() + SLICE
        return b"".join(written)

    async def _ready(self, request: Request) -> bytes:
        reasons = await self._readiness.reasons()
        if reasons:
            request.setResponseCode(503)
        return _json(request, {"ready": not reasons, "reasons": reasons})

    async def _report(self, request: Request) -> bytes:
        return _json(request, {"status": await self._status.report(), "history": self._history.columns()})

    def _timestamp(self) -> str:
        return (
            datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )


class MonitoringSite(Site):
    """A site that keeps no access log."""

    noisy = False

    def log(self, request: HTTPRequest) -> None:
        """Say nothing."""


def _json(request: Request, body: Mapping[str, object]) -> bytes:
    request.setHeader(b"content-type", JSON)
    return msgspec.json.encode(body)


def _page(request: Request, name: str, kind: str) -> bytes:
    """A part of the page for people, which may load nothing but its other parts."""
    request.setHeader(b"content-type", f"{kind}; charset=utf-8".encode())
    request.setHeader(b"content-security-policy", POLICY)
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.setHeader(b"referrer-policy", b"no-referrer")
    request.setHeader(b"cache-control", b"no-cache")
    return (FOLDER / name).read_bytes()


def _later(request: Request, answering: Coroutine[Deferred[Any], Any, bytes]) -> int:
    """Send an answer once it is there, if anybody still waits for it."""
    gone = False

    def leave(_: object) -> None:
        nonlocal gone
        gone = True

    def send(body: bytes) -> None:
        if not gone:
            request.setHeader(b"content-length", str(len(body)).encode())
            if request.method != b"HEAD":
                request.write(body)
            request.finish()

    def fail(failure: Failure) -> None:
        assert failure.value is not None
        _log.error("The metrics port cannot answer: {fault}", fault=describe_fault(failure.value))
        request.setResponseCode(500)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        send(b"Internal Server Error")

    request.notifyFinish().addErrback(leave)
    Deferred.fromCoroutine(answering).addCallback(send).addErrback(fail)
    return NOT_DONE_YET


class Monitoring:
    """The listener on the metrics port, if there is to be one."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        reactor: Any,
        now: Now,
        readiness: Readiness,
        status: Status,
        history: History,
    ) -> None:
        self._config = config
        self._reactor = reactor
        resource = MonitoringResource(metrics, now, reactor, readiness, status, history)
        self.site = MonitoringSite(resource, reactor=reactor)
        self.site.displayTracebacks = False
        self.port: IListeningPort | None = None

    async def start(self) -> None:
        """Listen. A port that is taken is logged, and the server goes on without; other errors raise."""
        if not self._config.metrics_enabled:
            return
        address = tcp(self._config.metrics_host, self._config.metrics_port)
        try:
            self.port = await serverFromString(self._reactor, address).listen(self.site)
        except CannotListenError as error:
            if getattr(error.socketError, "errno", None) != errno.EADDRINUSE:
                raise
            _log.error(
                "metrics-port {port} is taken; going on without metrics", port=self._config.metrics_port
            )

    async def stop(self) -> None:
        """Stop listening; connections end with the process."""
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)


class Stalls:
    """How long the reactor hears nobody, since it is busy with something.

    Where every turn is timed (:func:`happy.service.turns.poll_directly`), :meth:`took` is told of the long
    ones. Where that cannot be, a timer tells after :meth:`start` how late it is, which misses many.
    """

    def __init__(self, metrics: Metrics, clock: IReactorTime) -> None:
        self._metrics = metrics
        self._clock = clock
        self._timer: IDelayedCall | None = None

    def took(self, seconds: float) -> None:
        """A turn took so long."""
        self._metrics.happy_reactor_stall_seconds.observe(seconds)
        if seconds >= STANDSTILL:
            _log.warn("Nobody was heard for {seconds:.1f} s, which one turn took", seconds=seconds)

    def start(self) -> None:
        """Look from now on."""
        self._timer = self._clock.callLater(LAG_INTERVAL, self._look, self._clock.seconds() + LAG_INTERVAL)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, due: float) -> None:
        late = self._clock.seconds() - due
        if late >= LONG:
            self.took(late)
        self.start()


class Gauges:
    """Measures what is not counted as it happens.

    ``count_records`` gives estimated rows by table name (accounts, sessions, messages, machines),
    ``free_bytes`` the room for data. They are asked once a minute, but for an answer that is outstanding five
    minutes are waited.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: IReactorTime,
        count_records: Callable[[], Awaitable[Mapping[str, int]]],
        free_bytes: Callable[[], Awaitable[int]],
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._count_records = count_records
        self._free_bytes = free_bytes
        self._counting = Rounds(
            "counting the records of the database",
            self._record,
            clock,
            seconds=COUNT_INTERVAL,
            patience=5 * COUNT_INTERVAL,
        )

    def start(self) -> None:
        """Measure now and from now on."""
        self._counting.start(at_once=True)

    def stop(self) -> None:
        """Measure no more."""
        self._counting.stop()

    async def _record(self) -> None:
        records = await self._asked("the records of the database", self._count_records)
        for table, number in (records or {}).items():
            self._metrics.database_records_total.labels(table).set(number)
        free = await self._asked("the room for data", self._free_bytes)
        if free is not None:
            self._metrics.happy_data_free_bytes.set(free)

    async def _asked(self, what: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await ask()
        except Exception as error:  # the next minute may be better; the error itself can name the database
            _log.warn("{what} could not be measured: {error}", what=what, error=type(error).__name__)
            return None


def free_bytes(folder: Path) -> int:
    """The room that there is in a folder, or where it would be made. Blocks where the file system does."""
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize
