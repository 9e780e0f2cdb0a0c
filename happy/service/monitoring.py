"""What Prometheus, probes and people are told about a server.

``GET /metrics`` and ``GET /health`` on a port of their own (http.md 11), with ``GET /live`` (the reactor
turns), ``GET /ready`` (503 with reasons when clients should not be sent here) and, at ``/``, a page for
people: not for clients, by default only reachable from this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Request

from happy.service.watchers_site import answer_later

if TYPE_CHECKING:
    from happy.base.clocks import Now
    from happy.metrics import Metrics
    from happy.service.history import History
    from happy.service.readiness import Readiness
    from happy.service.status import Status, StatusReport

JSON: Final = b"application/json; charset=utf-8"
EXPOSITION: Final = b"text/plain; version=0.0.4; charset=utf-8"
SLICE: Final = 0.005
"""Seconds of a turn of the reactor in which metrics are written."""
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
                return answer_later(request, self._exposition(request))
            case b"GET" | b"HEAD", b"/health":
                return _json(request, {"status": "ok", "timestamp": self._timestamp()})
            case b"GET" | b"HEAD", b"/live":
                return _json(request, {"live": True})
            case b"GET" | b"HEAD", b"/ready":
                return answer_later(request, self._ready(request))
            case b"GET" | b"HEAD", b"/status.json":
                return answer_later(request, self._report(request))
            case b"GET" | b"HEAD", b"/history.json":
                return _json(request, self._history.columns())
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
        status = _for_anybody(await self._status.report())
        return _json(request, {"status": status, "history": self._history.columns()})

    def _timestamp(self) -> str:
        return (
            datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )


def _for_anybody(report: StatusReport) -> StatusReport:
    """Without fingerprints of master secrets: a guess could be tried by them. That two differ is enough."""
    ours = next((node.get("secret") for node in report.nodes if node["state"] == "here"), None)
    nodes = []
    for node in report.nodes:
        line = {name: value for name, value in node.items() if name != "secret"}
        if ours and node.get("secret", ours) != ours:
            line["otherSecret"] = True
        nodes.append(line)
    return msgspec.structs.replace(report, nodes=nodes)


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
