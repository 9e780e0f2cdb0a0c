"""Banner, health and public files (http.md 6.1)."""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Literal

from msgspec import field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.api.declare import Capability, RequestFacts
from happy.api.structs import NamedFile, PlainText, Reply
from happy.base.redaction import describe_fault
from happy.capabilities.server import Server

BANNER = "Welcome to Happy Server!"
_YEAR = 365 * 24 * 3600
_PUBLIC = "public/"
_PATIENCE = 3.0
"""Seconds that a health check waits for the database, which itself waits longer for a lost one."""

_log = Logger()

banner = Capability("banner", enabled=lambda config: config.webapp is None)
system = Capability("system")
files = Capability("files", enabled=lambda config: config.s3_host is None)


class Healthy(Reply):
    """``timestamp`` is the time in ISO 8601, UTC, with milliseconds."""

    condition: Literal["ok"] = field(default="ok", name="status")
    timestamp: str
    service: Literal["happy-server"] = "happy-server"


class Unhealthy(Reply):
    status: ClassVar[int] = 503

    condition: Literal["error"] = field(default="error", name="status")
    timestamp: str
    service: Literal["happy-server"] = "happy-server"
    error: Literal["Database connectivity failed"] = "Database connectivity failed"


class Ready(Reply):
    ready: Literal[True] = True
    reasons: Sequence[str] = ()


class NotReady(Reply):
    """``reasons`` are some of ``database``, ``disk``, ``draining`` and ``secret``."""

    status: ClassVar[int] = 503

    ready: Literal[False] = False
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Forbidden(PlainText):
    """A path that leads out of the folder of files."""

    text: str = "Forbidden"
    status: int = 403


@dataclass(frozen=True, slots=True)
class Missing(PlainText):
    """A path without a public file."""

    text: str = "Not found"
    status: int = 404


@banner.get("/", public=True)
async def welcome() -> PlainText:
    """What the app looks for when it is given a server's address."""
    return PlainText(BANNER)


@system.get("/health", public=True)
async def health(server: Server) -> Healthy | Unhealthy:
    """Whether the server reaches its database."""
    timestamp = _iso(server.now())
    ping = Deferred.fromCoroutine(server.database.ping())
    try:
        await ping.addTimeout(_PATIENCE, server.clock)
    except Exception as error:
        _log.warn("The database does not answer: {fault}", fault=describe_fault(error))
        return Unhealthy(timestamp=timestamp)
    return Healthy(timestamp=timestamp)


@system.get("/.well-known/happy/ready", public=True)
async def ready(server: Server) -> Ready | NotReady:
    """Whether new clients should be sent here: for whoever distributes them."""
    reasons = await server.readiness.reasons()
    return NotReady(reasons=reasons) if reasons else Ready()


@files.get("/files/*", public=True)
async def public_file(server: Server, rest: str, request: RequestFacts) -> NamedFile | Forbidden | Missing:
    """A file below ``public/``; the others are nobody's business here (D19)."""
    path = posixpath.normpath(rest)
    if path in (".", "..") or path.startswith(("../", "/")):
        return Forbidden()
    if not path.startswith(_PUBLIC) or "\0" in path:
        return Missing()
    file = await server.objects.file(path, owner=f"address:{request.address}")
    if file is None:
        return Missing()
    return NamedFile(
        path=file,
        content_type=mimetypes.guess_type(path)[0] or "application/octet-stream",
        headers={
            "cache-control": f"public, max-age={_YEAR}, immutable",  # names are never used again
            "x-content-type-options": "nosniff",
        },
    )


def _iso(seconds: float) -> str:
    """Epoch seconds as ``2026-01-31T12:00:00.000Z``."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
