"""Requests to one Happy server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import treq
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from happy.client._errors import Refused
from happy.client._waiting import within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer, IReactorTime, IStreamClientEndpoint
    from twisted.web.iweb import IAgent

CLIENT_NAME: Final = "python/1"
"""How requests and sockets introduce themselves unless told otherwise."""

_ABSENT: Final = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with its whole body."""

    status: int
    headers: Headers
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as a JSON value. Raises ValueError."""
        return msgspec.json.decode(self.content)


class RemoteServer:
    """A Happy server at ``url``, and the connections to it.

    Every request is bounded by ``timeout`` (seconds), after which it fails with
    ``twisted.internet.defer.TimeoutError``. ``endpoint`` reaches a server that the address alone does not,
    for example on a unix socket; an ``agent`` replaces the network for requests.
    """

    def __init__(
        self,
        url: str,
        reactor: IReactorTime,
        *,
        endpoint: IStreamClientEndpoint | None = None,
        agent: IAgent | None = None,
        client: str = CLIENT_NAME,
        timeout: float = 30.0,
        connections: int = 2,
    ) -> None:
        self.url = url.rstrip("/")
        self.reactor = reactor
        self.client = client
        self.timeout = timeout
        self.endpoint = endpoint
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = connections
        self._pool.retryAutomatically = False
        self._treq = HTTPClient(agent or self._agent(), data_to_body_producer=_WholeBody)

    def _agent(self) -> IAgent:
        if self.endpoint is None:
            return cast("IAgent", Agent(self.reactor, pool=self._pool))
        factory = _Always(self.endpoint)
        return cast("IAgent", Agent.usingEndpointFactory(self.reactor, factory, pool=self._pool))

    async def request(
        self,
        method: str,
        path: str,
        json: Any = _ABSENT,
        *,
        token: str | None = None,
        content: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a request and return whatever the answer is; redirects are not followed.

        ``path`` is below the server's address, or a whole URL; ``json`` any value that msgspec encodes,
        ``content`` a raw body instead of it.
        """
        sent = {"x-happy-client": self.client}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if json is not _ABSENT:
            content = msgspec.json.encode(json)
            sent["content-type"] = "application/json"
        return await self._exchange(
            method,
            path if "://" in path else self.url + path,
            params={name: str(value) for name, value in (params or {}).items()},
            headers=Headers({name: [value] for name, value in (sent | dict(headers or {})).items()}),
            data=content,
        )

    async def call(self, method: str, path: str, json: Any = _ABSENT, **options: Any) -> Any:
        """As :meth:`request`, returning the JSON value of the answer. Raises Refused unless it is 2xx."""
        return decoded(method, path, await self.request(method, path, json, **options))

    async def post_form(self, url: str, fields: Mapping[str, str], file: bytes) -> Answer:
        """Upload a file as multipart form data, after the fields that an object store asked for."""
        boundary = uuid.uuid4().hex
        headers = Headers({"content-type": [f"multipart/form-data; boundary={boundary}"]})
        return await self._exchange("POST", url, data=_form(fields, file, boundary), headers=headers)

    async def close(self) -> None:
        """Close idle connections."""
        await self._pool.closeCachedConnections()

    async def _exchange(self, method: str, url: str, **options: Any) -> Answer:
        """One exchange, cancelled when it takes longer than it may."""

        async def exchange() -> Answer:
            response = await self._treq.request(
                method,
                url,
                allow_redirects=False,
                reactor=cast("Any", self.reactor),
                unbuffered=True,
                **options,
            )
            return Answer(response.code, response.headers, await treq.content(response))

        answer: Deferred[Answer] = Deferred.fromCoroutine(exchange())
        return await within(self.timeout, answer, self.reactor)


@implementer(IAgentEndpointFactory)
class _Always:
    """The same endpoint whatever the address."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self._endpoint


@implementer(IBodyProducer)
class _WholeBody:
    """A request body in one write; treq's own producer needs the global reactor."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to hold back."""

    def resumeProducing(self) -> None:
        """Nothing was held back."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


def _form(fields: Mapping[str, str], file: bytes, boundary: str) -> bytes:
    """A multipart body; treq's own producer needs the global reactor."""
    start = f"--{boundary}\r\nContent-Disposition: form-data; name="
    texts = "".join(f'{start}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head = f'{start}"file"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return (texts + head).encode() + file + f"\r\n--{boundary}--\r\n".encode()


def decoded(method: str, path: str, answer: Answer) -> Any:
    """The JSON value of a successful answer. Raises Refused for another one."""
    if answer.ok:
        return answer.json()
    try:
        body = answer.json()
    except ValueError:
        body = answer.text
    raise Refused(method, path, answer.status, body)
