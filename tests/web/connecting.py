"""Connections to a site with toy endpoints, on transports in memory."""

from __future__ import annotations

from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from happy.api.declare import MIB, Caller, Capability
from happy.api.structs import Blob, Body
from tests.toys import toy_server
from tests.web.talking import Connection, Served

toys = Capability("toys")


class Toy(Body):
    name: str


class Gate:
    """What slow endpoints wait for, and what they did."""

    def __init__(self) -> None:
        self.open: Deferred[None] = Deferred()
        self.done: list[Any] = []


@toys.get("/quick", public=True)
async def quick() -> str:
    """Answer at once."""
    return "quick"


@toys.post("/slow", public=True)
async def slow(server: Any) -> str:
    """Answer when the gate opens."""
    await server.hub.open
    server.hub.done.append("slow")
    return "slow"


@toys.put("/keep", limit=3 * MIB)
async def keep(server: Any, caller: Caller, content: BinaryIO) -> int:
    """Read a body after a while."""
    await server.hub.open
    size = len(content.read())
    server.hub.done.append(size)
    return size


@toys.post("/small", limit=1000, strips={413: ("error",)})
async def small(caller: Caller, body: Toy) -> str:
    """Take little."""
    return body.name


@toys.post("/open", public=True, limit=100 * MIB)
async def open_to_all(body: Toy) -> int:
    """Take what anybody sends."""
    return len(body.name)


@toys.get("/stream", public=True)
async def stream(server: Any) -> Blob:
    """Send many chunks, noting each that is taken."""

    def chunks() -> Any:
        for index in range(100):
            server.hub.done.append(index)
            yield b"x" * 1000

    return Blob(chunks=chunks(), length=100_000)


@toys.get("/endless", public=True)
async def endless() -> Blob:
    """Send chunks without saying how many."""
    return Blob(chunks=[b"a" * 10, b"b" * 10], content_type="text/plain")


@toys.get("/broken", public=True)
async def broken() -> Blob:
    """Break off."""

    def chunks() -> Any:
        yield b"begun"
        raise OSError("secret path")

    return Blob(chunks=chunks(), length=100)


@toys.get("/large", public=True)
async def large() -> list[str]:
    """Answer much JSON."""
    return ["x" * 1000] * 1000


ANN = {"Authorization": "Bearer a.token.of-ann"}


UNPARSABLE = {"error": "Bad Request", "message": "Client Error", "statusCode": 400}


TOO_LARGE = {"error": "FastifyError", "message": "Request body is too large", "statusCode": 413}


class Polling:
    """A realtime endpoint that only takes notes, and answers ``/v1/updates/busy`` before the body comes."""

    largest_body = 1000
    websockets = 0

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes, bytes]] = []
        self.lost: list[Request] = []
        self.begun: list[Request] = []

    def handles(self, path: bytes) -> bool:
        return path.startswith(b"/v1/updates/")

    def take(self, channel: object, data: bytes) -> bool:
        return False

    def begin(self, request: Request) -> None:
        self.begun.append(request)
        if request.uri == b"/v1/updates/busy":
            self.refuse(request, 400)

    def lose(self, request: Request) -> None:
        self.lost.append(request)

    def render(self, request: Request) -> None:
        assert request.content is not None
        self.seen.append((request.method, request.uri, request.content.read()))
        request.setHeader("content-length", "2")
        request.write(b"ok")
        request.finish()

    def refuse(self, request: Request, status: int) -> None:
        request.setResponseCode(status)
        request.setHeader("content-length", "0")
        request.finish()


class ConnectionCase(SynchronousTestCase):
    """Tests that talk to toys."""

    fast = True

    def setUp(self) -> None:
        self.gate = Gate()
        self.polling = Polling()
        self.server = toy_server(hub=self.gate)
        self.served = Served(self.server, [toys], self.polling, fast=self.fast)
        self.clock = self.served.clock
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def connect(self) -> Connection:
        return self.served.connect()

    def exchange(self, data: bytes, *methods: str) -> Any:
        """Send on a connection of its own; the connection, and the replies."""
        connection = self.connect()
        connection.send(data)
        return connection, connection.read(*methods)

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
