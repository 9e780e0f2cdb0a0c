"""Requests that reach another worker than their session's are passed on to it.

Connections are given to workers by the system, which knows nothing of sessions: requests of polling come to
any, and so do upgrades from it. A WebSocket that opens a session stays where it begins.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.http_headers import Headers

from happy.base.trouble import Trouble
from happy.service.relaying import RelayEnd, relay
from happy.service.siblings import SiblingEndpoint, sibling_agent
from happy.socketio.upgrade import wants_upgrade

if TYPE_CHECKING:
    from twisted.web.http import Request

    from happy.metrics import Metrics
    from happy.service.place import WorkerPlace

_OF_THE_CONNECTION: Final = frozenset(
    {b"connection", b"content-length", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)


class Astray:
    """Counts requests about sessions of other nodes, whose ids begin otherwise: a proxy sent them wrong."""

    def __init__(self, metrics: Metrics, prefix: str) -> None:
        self._count = metrics.happy_wrong_node_total.inc
        self._prefix = prefix

    def __call__(self, request: Request, sid: str) -> bool:
        """Never: nobody here has the session."""
        if "." in sid and not sid.startswith(self._prefix or "."):
            self._count()
        return False


class Passing:
    """Passes requests on to the workers whose sessions they are about."""

    _log = Logger()

    def __init__(self, reactor: Any, place: WorkerPlace, astray: Astray) -> None:
        self._reactor = reactor
        self._place = place
        self._astray = astray
        self._agent = sibling_agent(reactor, place.folder.parent, place.REQUESTS, persistent=True)
        self._trouble = Trouble(self._log, "passing a request on to another worker", reactor)

    def __call__(self, request: Request, sid: str) -> bool:
        """Whether the session is another worker's, which answers then."""
        host = self._place.another(sid)
        if host is None:
            return self._astray(request, sid)
        if wants_upgrade(request):
            self._upgrade(request, host)
        else:
            self._poll(request, host)
        return True

    def _upgrade(self, request: Request, host: str) -> None:
        end = RelayEnd(self._reactor)
        endpoint = SiblingEndpoint(self._reactor, self._place.folder.parent / host / self._place.REQUESTS)
        connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(lambda: end))
        request.notifyFinish().addErrback(lambda _: connecting.cancel())
        connecting.addCallback(lambda _: relay(request, _upgraded_with(request), end, self._reactor))
        connecting.addErrback(self._failed, request)

    def _poll(self, request: Request, host: str) -> None:
        assert request.content is not None
        body = request.content.read()
        producer = FileBodyProducer(BytesIO(body)) if body else None
        url = b"http://" + host.encode() + request.uri
        asked = self._agent.request(request.method, url, _asked_with(request), producer)
        request.notifyFinish().addErrback(lambda _: asked.cancel())
        asked.addCallbacks(self._answer, self._failed, (request,), {}, (request,))

    def _answer(self, response: Any, request: Request) -> None:
        self._trouble.over()
        request.setResponseCode(response.code)
        for name, values in response.headers.getAllRawHeaders():
            if name.lower() not in _OF_THE_CONNECTION:
                request.responseHeaders.setRawHeaders(name, values)
        response.deliverBody(_Relaying(request))

    def _failed(self, failure: Failure, request: Request) -> None:
        """The client has gone, or the worker has, with all its sessions."""
        if request.channel is None:
            return
        self._trouble.again(type(failure.value).__name__)
        request.setResponseCode(503)
        request.finish()


class _Relaying(Protocol):
    """The body of an answer, no faster than the client takes it."""

    transport: Any

    def __init__(self, request: Request) -> None:
        self._request = request
        self._gone = False
        request.notifyFinish().addErrback(self._leave)

    def connectionMade(self) -> None:
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        if not self._gone:
            self._request.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self._gone:
            return
        self._request.unregisterProducer()
        if reason.check(ResponseDone):
            self._request.finish()
        else:
            self._request.loseConnection()

    def _leave(self, _: Failure) -> None:
        self._gone = True
        self.transport.loseConnection()


def _asked_with(request: Request) -> Headers:
    """The headers of a request, as a proxy passes them on."""
    every = request.requestHeaders.getAllRawHeaders()
    headers = Headers({name: values for name, values in every if name.lower() not in _OF_THE_CONNECTION})
    host = getattr(request.getClientAddress(), "host", None)
    if host is not None:
        headers.addRawHeader(b"x-forwarded-for", host.encode())
    return headers


def _upgraded_with(request: Request) -> Headers:
    """The same for an upgrade to WebSocket."""
    headers = _asked_with(request)
    headers.addRawHeader(b"connection", b"Upgrade")
    headers.addRawHeader(b"upgrade", b"websocket")
    return headers
