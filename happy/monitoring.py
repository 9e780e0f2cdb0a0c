"""The listener for Prometheus, and what is measured at intervals.

``GET /metrics`` and ``GET /health`` on a port of their own (http.md 11): not for clients, by default only
reachable from this machine.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.logger import Logger
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from happy.listening import tcp
from happy.rounds import Rounds

if TYPE_CHECKING:
    from happy.clocks import Now
    from happy.config import Config
    from happy.metrics import Metrics

JSON = b"application/json; charset=utf-8"
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
COUNT_INTERVAL = 60.0
LAG_INTERVAL = 1.0

_log = Logger()


class MonitoringResource(Resource):
    """Everything on the metrics port."""

    isLeaf = True

    def __init__(self, metrics: Metrics, now: Now) -> None:
        super().__init__()
        self._metrics = metrics
        self._now = now

    def render(self, request: Request) -> bytes:
        """Answer whatever is asked."""
        match request.method, request.path:
            case b"GET" | b"HEAD", b"/metrics":
                return self._exposition(request)
            case b"GET" | b"HEAD", b"/health":
                return _json(request, {"status": "ok", "timestamp": self._timestamp()})
        request.setResponseCode(404)
        asked = f"{request.method.decode('latin-1')}:{request.uri.decode('latin-1')}"
        return _json(
            request, {"message": f"Route {asked} not found", "error": "Not Found", "statusCode": 404}
        )

    def _exposition(self, request: Request) -> bytes:
        try:
            body = self._metrics.exposition()
        except Exception:
            _log.failure("the metrics could not be written")
            request.setResponseCode(500)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"Internal Server Error"
        request.setHeader(b"content-type", EXPOSITION)
        return body

    def _timestamp(self) -> str:
        return (
            datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )


class MonitoringSite(Site):
    """A site that keeps no access log."""

    noisy = False

    def log(self, request: HTTPRequest) -> None:
        """Say nothing."""


def _json(request: Request, body: Mapping[str, Any]) -> bytes:
    request.setHeader(b"content-type", JSON)
    return msgspec.json.encode(body)


class Monitoring:
    """The listener on the metrics port, if there is to be one."""

    def __init__(self, config: Config, metrics: Metrics, reactor: Any, now: Now = time.time) -> None:
        self._config = config
        self._reactor = reactor
        self._site = MonitoringSite(MonitoringResource(metrics, now), reactor=reactor)
        self._site.displayTracebacks = False
        self.port: IListeningPort | None = None

    async def start(self) -> None:
        """Listen. A port that is taken is logged, and the server goes on without; other errors raise."""
        if not self._config.metrics_enabled:
            return
        address = tcp(self._config.metrics_host, self._config.metrics_port)
        try:
            self.port = await serverFromString(self._reactor, address).listen(self._site)
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


class Gauges:
    """Measures what is not counted as it happens.

    ``count_records`` gives estimated rows by table name (accounts, sessions, messages, machines); it is
    asked once a minute, but for an answer that is outstanding five minutes are waited.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: IReactorTime,
        count_records: Callable[[], Awaitable[Mapping[str, int]]],
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._count_records = count_records
        self._counting = Rounds(
            "counting the records of the database",
            self._record,
            clock,
            seconds=COUNT_INTERVAL,
            patience=5 * COUNT_INTERVAL,
        )
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Measure now and from now on."""
        self._counting.start(at_once=True)
        self._expect()

    def stop(self) -> None:
        """Measure no more."""
        self._counting.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _record(self) -> None:
        for table, number in (await self._count_records()).items():
            self._metrics.database_records_total.labels(table).set(number)

    def _expect(self) -> None:
        self._timer = self._clock.callLater(LAG_INTERVAL, self._observe, self._clock.seconds() + LAG_INTERVAL)

    def _observe(self, due: float) -> None:
        """Note how late the event loop is; every other timer is as late."""
        self._metrics.happy_event_loop_lag_seconds.observe(max(0.0, self._clock.seconds() - due))
        self._expect()
