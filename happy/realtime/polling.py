"""Answering the HTTP requests of Engine.IO clients (realtime.md A.4, A.8, A.9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from happy.wire.engineio import EncodedPacket, Problem, encode_payload

if TYPE_CHECKING:
    from twisted.web.http import Request

CORS: Final = ((b"Access-Control-Allow-Origin", b"*"), (b"Access-Control-Allow-Credentials", b"true"))
"""On every response of the endpoint, the 101 included."""

_PREFLIGHT: Final = (
    (b"Access-Control-Allow-Methods", b"GET,POST,OPTIONS"),
    (b"Access-Control-Allow-Headers", b"*"),
)
_JSON: Final = b"application/json"
_HTML: Final = b"text/html"
_TEXT: Final = b"text/plain; charset=UTF-8"


def answer_poll(request: Request, packets: Iterable[EncodedPacket]) -> None:
    """200 with packets."""
    _forbid_storing(request)
    respond(request, 200, encode_payload(packets), _TEXT)


def answer_post(request: Request) -> None:
    """200 ``ok``."""
    _forbid_storing(request)
    respond(request, 200, b"ok", _HTML)


def refuse(request: Request, problem: Problem | None) -> None:
    """The problem as JSON; without one, 400 and an empty body."""
    if problem is None:
        respond(request, 400)
    else:
        respond(request, problem.status, problem.body(), _JSON)


def refuse_upgrade(request: Request, message: str) -> None:
    """400 with nothing but text, after which the connection is closed: for WebSocket upgrade requests."""
    request.channel.persistent = False
    request.setHeader(b"Connection", b"close")
    respond(request, 400, message.encode(), _HTML)


def answer_preflight(request: Request) -> None:
    """What a browser asks before it sends a request from another origin."""
    for name, value in _PREFLIGHT:
        request.setHeader(name, value)
    respond(request, 204)


def respond(request: Request, status: int, body: bytes = b"", content_type: bytes | None = None) -> None:
    """Answer a request and finish it."""
    request.setResponseCode(status)
    for name, value in CORS:
        request.setHeader(name, value)
    if content_type is not None:
        request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


def abort(request: Request) -> None:
    """Cut the connection of a request."""
    transport: Any = request.channel.transport
    transport.abortConnection()


def _forbid_storing(request: Request) -> None:
    request.setHeader(b"Cache-Control", b"no-store")
    agent = request.getHeader(b"User-Agent") or b""
    if b";MSIE" in agent or b"Trident/" in agent:
        request.setHeader(b"X-XSS-Protection", b"0")
