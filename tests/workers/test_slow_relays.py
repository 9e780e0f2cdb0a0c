"""Clients that read nothing of what another worker says to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import treq
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from happy.metrics import Metrics
from happy.service.passing import Astray, Passing
from happy.service.place import WorkerPlace

PIECE = b"x" * 65_536
MOST = 32 * 1024 * 1024
"""Far more than what the system keeps on two connections."""


class Talker:
    """Says more and more until it has to wait. ``waits`` fires then, ``ended`` when nobody listens."""

    def __init__(self, transport: Any) -> None:
        self.said = 0
        self.waits: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._transport = transport
        self._next: IDelayedCall | None = None
        transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        # It may be told to go on at once, before it is really kept waiting.
        self._then(0.3, self._kept_waiting)

    def resumeProducing(self) -> None:
        self._then(0, self._say)

    def stopProducing(self) -> None:
        self._then(0, self.ended.callback, None)

    def _then(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = reactor.callLater(seconds, act, *arguments)  # type: ignore[attr-defined]

    def _say(self) -> None:
        assert self.said < MOST, "nobody held it back"
        self.said += len(PIECE)
        self._then(0, self._say)
        self._transport.write(PIECE)

    def _kept_waiting(self) -> None:
        if not self.waits.called:
            self.waits.callback(None)


class Other(Resource):
    """The worker that has the sessions."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.talking: Deferred[Talker] = Deferred()

    def render_GET(self, request: Request) -> Any:
        if request.path == b"/quick":
            return b"ok"
        if request.requestHeaders.hasHeader("upgrade"):
            transport = request.channel.transport  # type: ignore[union-attr]
            transport.unregisterProducer()  # twisted.web's own
            transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            self.talking.callback(Talker(transport))
        else:
            self.talking.callback(Talker(request))
        return NOT_DONE_YET


class Front(Resource):
    """The worker that the system has given the connection to."""

    isLeaf = True

    def __init__(self, passing: Passing) -> None:
        super().__init__()
        self._passing = passing

    def render_GET(self, request: Request) -> Any:
        assert self._passing(request, "w2.session")
        return NOT_DONE_YET


class Deaf(Protocol):
    """A client that asks, and reads nothing of the answer."""

    transport: Any

    def __init__(self, head: bytes) -> None:
        self._head = head

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        self.transport.write(self._head)


def _closing() -> bool:
    """Whether the other end of a relay is still to go."""
    calls = reactor.getDelayedCalls()  # type: ignore[attr-defined]
    return any(getattr(call.func, "__name__", "") == "abortConnection" for call in calls)


class SlowRelayTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="happy-relay-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "w2").mkdir()
        self.other = Other()
        port = reactor.listenUNIX(str(folder / "w2" / WorkerPlace.REQUESTS), Site(self.other))  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        metrics = Metrics(CollectorRegistry())
        self.passing = Passing(reactor, WorkerPlace(1, folder / "w1"), Astray(metrics, "w1."))
        self.addCleanup(lambda: self.passing._agent._pool.closeCachedConnections())
        front = reactor.listenTCP(0, Site(Front(self.passing)), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(front.stopListening)
        self.port = front.getHost().port

    async def deaf(self, more: bytes = b"") -> None:
        """Let a client ask and read nothing; others are answered, and its end is the end of the answer."""
        client = Deaf(b"GET /endless HTTP/1.1\r\nHost: a\r\n" + more + b"\r\n")
        factory = ClientFactory.forProtocol(lambda: client)
        reactor.connectTCP("127.0.0.1", self.port, factory)  # type: ignore[attr-defined]
        talker = await self.other.talking
        await talker.waits
        self.assertLess(talker.said, MOST)
        answer = await treq.get(f"http://127.0.0.1:{self.port}/quick", persistent=False)
        self.assertEqual(await answer.content(), b"ok")
        client.transport.abortConnection()
        await talker.ended
        while _closing():
            await deferLater(reactor, 0)  # type: ignore[arg-type]

    async def test_a_poll(self) -> None:
        """What is said is held back at the worker that says it, and nobody else waits."""
        await self.deaf()

    async def test_an_upgrade(self) -> None:
        """The same on a WebSocket."""
        await self.deaf(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
