"""Toy endpoints, one for each kind of answer and body; some of them take their time."""

from __future__ import annotations

from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from happy.api.declare import MIB, Caller, Capability, RequestFacts
from happy.api.structs import Blob, Body, PlainText, Redirect
from tests.toys import toy_server
from tests.web.talking import Served

toys = Capability("toys")


class Toy(Body):
    name: str


@toys.get("/", public=True)
async def banner() -> PlainText:
    """Say hello."""
    return PlainText("hello")


@toys.get("/toys/:toyId")
async def look(caller: Caller, toy_id: str) -> dict[str, str]:
    """One toy."""
    return {"id": toy_id, "of": caller.account}


@toys.post("/toys", limit=100 * MIB)
async def make(caller: Caller, body: Toy) -> dict[str, int]:
    """Make a toy with a long name."""
    return {"size": len(body.name)}


@toys.post("/small", public=True, limit=10)
async def small(body: Toy) -> str:
    """Take little."""
    return body.name


@toys.put("/toys/:toyId", public=True)
async def fill(server: Any, toy_id: str, content: BinaryIO) -> int:
    """Read a body after a while."""
    await server.hub.wait()
    return len(content.read())


@toys.delete("/toys/:toyId", public=True)
async def drop(toy_id: str) -> dict[str, str]:
    """Drop a toy."""
    return {"dropped": toy_id}


@toys.delete("/slow/:toyId", public=True)
async def drop_slowly(server: Any, toy_id: str) -> dict[str, str]:
    """Drop a toy, after a while."""
    await server.hub.wait()
    return {"dropped": toy_id}


@toys.get("/file", public=True)
async def file(server: Any) -> Blob:
    """Chunks, after a while."""
    await server.hub.wait()
    return Blob(chunks=[b"a" * 3000, b"b" * 3000], content_type="text/plain")


@toys.post("/boom", public=True)
async def boom() -> None:
    """Fail."""
    raise RuntimeError("secret words")


@toys.get("/elsewhere", public=True)
async def elsewhere() -> Redirect:
    """Point away."""
    return Redirect("https://example.org/?a=b")


@toys.get("/facts", public=True)
async def facts(request: RequestFacts) -> dict[str, Any]:
    """What is known about a request."""
    return {"base": request.base_url, "address": request.address, "agent": request.header("user-agent")}


@toys.get("/long", public=True)
async def long() -> list[str]:
    """Much to read."""
    return ["x" * 1000] * 70


class Gates:
    """What slow endpoints wait for, one opening each; a server's ``hub``."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        gate: Deferred[None] = Deferred()
        self._waiting.append(gate)
        return gate

    def open(self) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(None)


ANN = "Bearer a.token.of-ann"
JSON = "application/json; charset=utf-8"


class ResourceCase(SynchronousTestCase):
    """Tests that ask toy endpoints."""

    fast = True

    def setUp(self) -> None:
        self.server = toy_server()
        self.served = Served(self.server, [toys], fast=self.fast)
        self.ask = self.served.ask
