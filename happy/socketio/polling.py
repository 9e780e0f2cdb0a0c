"""Answering the HTTP requests of Engine.IO clients (realtime.md A.4, A.8, A.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from happy.socketio.backlog import Backlog
from happy.wire.engineio import EncodedPacket, EngineProblem, encode_payload

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request

    from happy.socketio.shared import Headers, Shared

_JSON: Final = b"application/json"
_HTML: Final = b"text/html"
_TEXT: Final = b"text/plain; charset=UTF-8"

AT_ONCE: Final = 16 * 1024
"""An answer up to this size is written in one piece, and does not count until it is taken."""


@implementer(IPushProducer)
class LargeAnswer:
    """The body of an answer that its client may take slowly: what it has not taken counts as its owner's."""

    def __init__(
        self, request: Request, shared: Shared, owner: str, clock: IReactorTime, seconds: float
    ) -> None:
        """A client that takes nothing for so many seconds is dropped."""
        transport: Any = request.channel.transport
        self._request: Request | None = request
        self._owner = owner
        self._pace = shared.pace
        self._holding = shared.memory.open(owner, self)
        self._backlog = Backlog(transport, self._holding, clock, seconds, self.give_up)

    def send(self, body: bytes) -> None:
        """Send it, and finish the request; the head goes with the first part."""
        request = self._request
        assert request is not None
        request.notifyFinish().addErrback(lambda lost: self.stopProducing())
        if self._backlog.put(body):
            request.registerProducer(self, True)
            self.resumeProducing()
        else:
            self.give_up()

    def pauseProducing(self) -> None:
        """The connection is full."""
        if not self._backlog.stick():
            self.give_up()

    def resumeProducing(self) -> None:
        """The connection has room."""
        self._backlog.unstick()
        self._write_on()

    def _write_on(self) -> None:
        """Write what is left, as far as there is room and time."""
        backlog, request = self._backlog, self._request
        if request is None or not backlog.go_on():
            return
        if backlog.write_some(request.write):
            self._pace.later(f"write {self._owner}", self._write_on)
        elif not backlog.paused:
            self._finish()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._end()

    def give_up(self) -> None:
        """There is no room for it, or the client takes nothing."""
        request = self._end()
        if request is not None:
            abort(request)

    def _finish(self) -> None:
        request = self._end()
        if request is not None:
            request.unregisterProducer()
            request.finish()

    def _end(self) -> Request | None:
        request, self._request = self._request, None
        self._backlog.close()
        self._holding.close()
        return request


def answer_poll(
    request: Request, packets: Iterable[EncodedPacket], large: Callable[[Request], LargeAnswer]
) -> None:
    """200 with packets; ``large`` is for an answer that is."""
    body = encode_payload(packets)
    _forbid_storing(request)
    if len(body) <= AT_ONCE:
        respond(request, 200, body, _TEXT)
    elif request.channel is not None:
        _begin(request, 200, len(body), _TEXT)
        large(request).send(body)


def answer_post(request: Request) -> None:
    """200 ``ok``."""
    _forbid_storing(request)
    respond(request, 200, b"ok", _HTML)


def refuse(request: Request, problem: EngineProblem | None) -> None:
    """The problem as JSON; without one, 400 and an empty body."""
    if problem is None:
        respond(request, 400)
    else:
        respond(request, problem.status, problem.body(), _JSON)


def refuse_upgrade(request: Request, message: str, status: int = 400) -> None:
    """Nothing but text, after which the connection is closed: for WebSocket upgrade requests."""
    request.channel.persistent = False
    request.setHeader(b"Connection", b"close")
    respond(request, status, message.encode(), _HTML)


def answer_preflight(request: Request, headers: Headers) -> None:
    """What a browser asks before it sends a request from another origin."""
    for name, value in headers:
        request.setHeader(name, value)
    respond(request, 204)


def respond(request: Request, status: int, body: bytes = b"", content_type: bytes | None = None) -> None:
    """Answer a request and finish it, unless its client has left."""
    if request.channel is None:
        return
    _begin(request, status, len(body), content_type)
    request.write(body)
    request.finish()


def _begin(request: Request, status: int, length: int, content_type: bytes | None) -> None:
    request.setResponseCode(status)
    if content_type is not None:
        request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % length)


def abort(request: Request) -> None:
    """Cut the connection of a request, unless it is gone."""
    if request.channel is not None:
        transport: Any = request.channel.transport
        transport.abortConnection()


def _forbid_storing(request: Request) -> None:
    request.setHeader(b"Cache-Control", b"no-store")
    agent = request.getHeader(b"User-Agent") or b""
    if b";MSIE" in agent or b"Trident/" in agent:
        request.setHeader(b"X-XSS-Protection", b"0")
