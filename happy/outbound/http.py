"""Calls to third parties that may be slow, broken, huge or hostile.

Every service gets one :class:`Outgoing`. Whatever the other side does, a call ends within its timeout
and its size limit, leaves no socket behind, and is counted once in
``happy_outgoing_calls_total{service, outcome}`` with one of the values of :data:`Outcome`::

    expo = Outgoing("expo", reactor, metrics, timeout=8)
    tickets = await expo.ask("POST", url, Tickets, json=batch)   # a 2xx answer of that JSON shape
    picture = await expo.fetch("GET", url)                      # the bytes of a 2xx answer

All raise :class:`CallFailed` and nothing else; an answer other than 2xx is its subclass
:class:`Rejected`, which has the status. Redirects are not followed (they are ``Rejected``), cookies are
dropped, and compression is neither offered nor accepted, so that the size limit holds for what ends up
in memory. Each call opens its own connection: a kept one may die under a POST that nobody may repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import urlencode

import msgspec
import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from happy import __version__
from happy.outbound.call_places import CallPlaces

if TYPE_CHECKING:
    from happy.metrics import Metrics

T = TypeVar("T")
Outcome = Literal["ok", "rejected", "malformed", "oversized", "timeout", "unreachable", "busy", "cancelled"]

KIB = 1024
HEADER_ALLOWANCE = 64 * KIB
"""Bytes of status line, headers and framing that an answer may have besides its body."""

_log = Logger()


class CallFailed(Exception):
    """A call brought no usable answer; ``outcome`` says why, in a word that is safe to log."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Rejected(CallFailed):
    """The other side answered with a ``status`` other than 2xx."""

    def __init__(self, status: int) -> None:
        super().__init__("rejected")
        self.status = status


class Request(TypedDict, total=False):
    """What a call may say: ``params`` are percent-encoded here, ``json`` becomes the body."""

    headers: Mapping[str, str]
    params: Mapping[str, str]
    json: Any
    timeout: float


class Outgoing:
    """The calls to one third party.

    ``timeout`` is in seconds, for a whole call including the wait for a free place and the last byte of
    the answer; a call may ask for another one. ``concurrency`` is the number of calls under way at a
    time, ``slow`` how many more there may be in place of calls that take long, and ``waiting`` the number
    that may queue before further ones fail as ``busy``; ``limit`` the largest answer in bytes. ``tls``
    decides whom to trust, by default the platform's authorities.
    """

    def __init__(
        self,
        service: str,
        reactor: Any,
        metrics: Metrics,
        *,
        timeout: float = 10.0,
        concurrency: int = 8,
        slow: int = 56,
        waiting: int = 1000,
        limit: int = 1024 * KIB,
        tls: IPolicyForHTTPS | None = None,
    ) -> None:
        self._service = service
        self._reactor = reactor
        self._metrics = metrics
        self._timeout = timeout
        self._places = CallPlaces(reactor, concurrency, slow)
        self._waiting = waiting
        self._limit = limit
        self._tls = tls or BrowserLikePolicyForHTTPS()

    def seconds(self) -> float:
        """The time by the clock of timeouts."""
        now: float = self._reactor.seconds()
        return now

    async def ask(self, method: str, url: str, answer: type[T], **request: Unpack[Request]) -> T:
        """The 2xx answer's JSON as ``answer``; raises :class:`CallFailed`."""
        return await self.read(method, url, partial(msgspec.json.decode, type=answer), **request)

    async def fetch(self, method: str, url: str, **request: Unpack[Request]) -> bytes:
        """The 2xx answer's body; raises :class:`CallFailed`."""
        return await self.read(method, url, bytes, **request)

    async def read(
        self, method: str, url: str, decode: Callable[[bytes], T], **request: Unpack[Request]
    ) -> T:
        """What ``decode`` makes of the 2xx answer's body, or ``malformed`` where it raises ValueError.

        Raises :class:`CallFailed`.
        """
        return await self._counted(self._decoded(method, url, decode, request))

    async def _counted(self, call: Coroutine[Any, Any, T]) -> T:
        outcome: Outcome = "ok"
        try:
            return await call
        except CancelledError:
            outcome = "cancelled"
            raise
        except CallFailed as failure:
            outcome = failure.outcome
            _log.warn("{service} did not answer: {outcome}", service=self._service, outcome=outcome)
            raise
        finally:
            self._metrics.happy_outgoing_calls_total.labels(service=self._service, outcome=outcome).inc()

    async def _decoded(self, method: str, url: str, decode: Callable[[bytes], T], request: Request) -> T:
        body = await self._bounded(method, url, request)
        try:
            return decode(body)
        except (ValueError, RecursionError) as error:
            raise CallFailed("malformed") from error

    async def _bounded(self, method: str, url: str, request: Request) -> bytes:
        """The exchange within its time, after a place has become free."""
        if self._places.waiting >= self._waiting:
            raise CallFailed("busy")
        call = Deferred.fromCoroutine(self._placed(method, url, request))
        try:
            return await call.addTimeout(request.get("timeout", self._timeout), self._reactor)
        except TimeoutError as error:
            raise CallFailed("timeout") from error

    async def _placed(self, method: str, url: str, request: Request) -> bytes:
        place = await self._places.enter()
        line = _Line(self._reactor, self._tls, self._limit + HEADER_ALLOWANCE)
        try:
            return await _exchange(line, method, url, request, self._limit)
        finally:
            line.cut()
            place.leave()


async def _exchange(line: _Line, method: str, url: str, request: Request, limit: int) -> bytes:
    """Send the request over ``line`` and collect the answer; raises :class:`CallFailed`."""
    client = HTTPClient(_Plain(line.agent()), cookiejar=_no_cookies())  # type: ignore[arg-type]
    url, headers, content = _compose(url, request)
    parts: list[bytes] = []
    try:
        asking = client.request(
            method,
            url,
            headers=headers,
            data=content,
            allow_redirects=False,
            unbuffered=True,
            reactor=line.reactor,
        )
        response = await _interruptible(asking)
        await treq.collect(response, parts.append)
    except CancelledError:
        raise
    except Exception as error:
        raise CallFailed(line.blame()) from error
    body = b"".join(parts)
    if len(body) > limit:
        raise CallFailed("oversized")
    if not 200 <= response.code < 300:
        raise Rejected(response.code)
    return body


def _interruptible(original: Deferred[T]) -> Deferred[T]:
    """``original``, but failing with a plain CancelledError when cancelled, not with one of many others."""

    def cancel(waiting: Deferred[T]) -> None:
        waiting.errback(CancelledError())
        original.cancel()

    waiting: Deferred[T] = Deferred(cancel)

    def settle(result: T | Failure) -> None:
        if not waiting.called:
            waiting.callback(result)

    original.addBoth(settle)
    return waiting


def _compose(url: str, request: Request) -> tuple[str, Headers, bytes | None]:
    """The complete URL, the headers and the body of a request."""
    headers = Headers({"User-Agent": [f"happy-server/{__version__}"]})
    for name, value in request.get("headers", {}).items():
        headers.setRawHeaders(name, [value])
    if params := request.get("params"):
        url = f"{url}?{urlencode(params)}"
    if "json" not in request:
        return url, headers, None
    headers.setRawHeaders("Content-Type", ["application/json"])
    return url, headers, msgspec.json.encode(request["json"])


def _no_cookies() -> CookieJar:
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


@implementer(IAgent)
class _Plain:
    """Asks for an uncompressed answer and refuses any other: a small gzip body may be a huge one."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        headers = Headers() if headers is None else headers
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer).addCallback(_unencoded)


def _unencoded(response: IResponse) -> IResponse:
    if response.headers.getRawHeaders(b"Content-Encoding", [b"identity"]) != [b"identity"]:
        raise ValueError("the answer is encoded, which was not asked for")
    return response


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Line:
    """The one connection of one call: counts what arrives, and can always be cut.

    An Agent's own cancellation stops at the headers, and closing a TLS connection politely waits for a
    peer that may never answer; cutting does neither.
    """

    def __init__(self, reactor: Any, tls: IPolicyForHTTPS, allowance: int) -> None:
        self.reactor = reactor
        self.overflowed = False
        self.answered = False
        self._tls = tls
        self._allowance = allowance
        self._meter: _Meter | None = None

    def agent(self) -> Agent:
        """An agent whose connection this is."""
        return Agent.usingEndpointFactory(self.reactor, self)  # type: ignore[no-any-return]

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        self._endpoint: IStreamClientEndpoint = HostnameEndpoint(self.reactor, uri.host, uri.port)
        if uri.scheme == b"https":
            creator = self._tls.creatorForNetloc(uri.host, uri.port)
            self._endpoint = wrapClientTLS(creator, self._endpoint)
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        metered: WrappingFactory[_Meter] = WrappingFactory(protocolFactory)
        metered.protocol = lambda factory, wrapped: _Meter(factory, wrapped, self)
        connecting: Deferred[Any] = self._endpoint.connect(metered)
        return connecting.addCallback(self._connected)

    def _connected(self, meter: _Meter) -> Any:
        self._meter = meter
        return meter.wrappedProtocol

    def admit(self, size: int) -> bool:
        """Whether ``size`` more bytes may pass."""
        self.answered = True
        self._allowance -= size
        self.overflowed = self._allowance < 0
        return not self.overflowed

    def blame(self) -> Outcome:
        """Why an exchange over this connection failed."""
        if self.overflowed:
            return "oversized"
        return "malformed" if self.answered else "unreachable"

    def cut(self) -> None:
        """Close the connection, if there is one, without waiting for anything."""
        if self._meter is not None and self._meter.connected:
            self._meter.abortConnection()


class _Meter(ProtocolWrapper):
    def __init__(self, factory: WrappingFactory[_Meter], wrapped: Any, line: _Line) -> None:
        super().__init__(factory, wrapped)
        self._line = line

    def dataReceived(self, data: bytes) -> None:
        if self._line.admit(len(data)):
            super().dataReceived(data)
        else:
            self.abortConnection()
