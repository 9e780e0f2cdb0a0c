"""Toy endpoints, asked on a connection."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from happy.api.declare import MIB, Caller, Capability, RequestFacts
from happy.api.structs import Body, PlainText, Redirect
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


@toys.delete("/toys/:toyId", public=True)
async def drop(toy_id: str) -> dict[str, str]:
    """Drop a toy."""
    return {"dropped": toy_id}


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
    return ["x" * 1000] * 1000


ANN = "Bearer a.token.of-ann"


JSON = "application/json; charset=utf-8"


class ResourceCase(SynchronousTestCase):
    """Tests that ask toy endpoints."""

    fast = True

    def setUp(self) -> None:
        self.server = toy_server()
        self.served = Served(self.server, [toys], fast=self.fast)
        self.ask = self.served.ask
