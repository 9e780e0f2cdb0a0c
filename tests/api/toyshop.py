"""Toy endpoints, and tests that call them through the pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, BinaryIO, ClassVar, Literal, cast

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.api.answers import Answer
from happy.api.declare import Caller, Capability, RequestFacts
from happy.api.parts import Parts
from happy.api.payload import payload_of
from happy.api.pipeline import Inputs, call_route
from happy.api.structs import Blob, Body, Headers, Integer, PlainText, Query, Redirect, Reply
from happy.base.errors import Refusal
from happy.web.shares import Processor
from tests.toys import ToyDatabase, toy_server

toys = Capability("toys")


class Taken(Refusal):
    status = 409
    error = "Taken"


class NewToy(Body):
    name: str


class Named(Reply):
    toy_name: str


class Made(Reply):
    status: ClassVar[int] = 201
    made: bool = True


class Few(Query):
    limit: Integer = 1


class Signed(Headers):
    x_signature: str


async def fail(error: Exception) -> Any:
    raise error


@toys.post("/toys/:kind", refuses=(Taken,))
async def make(
    tx: Any, caller: Caller, kind: Literal["car", "boat"], body: NewToy, query: Few, headers: Signed
) -> Named:
    """Make a toy."""
    if body.name == "taken":
        raise Taken
    return Named(toy_name=f"{caller.account} {kind} {body.name} {query.limit} {headers.x_signature} {tx}")


@toys.get("/toys")
async def look(tx: Any, caller: Caller) -> list[str]:
    """All toys."""
    return [caller.account, tx]


@toys.delete("/toys", public=True)
async def drop(tx: Any) -> Made:
    """Drop everything."""
    return Made()


@toys.post("/broken")
async def broken(server: Parts) -> None:
    """Fail unexpectedly."""
    await fail(cast(Any, server).error)


@toys.post("/broken/own", failure={"error": "Toys are broken"})
async def broken_own(server: Parts) -> None:
    """Fail, and say so in words of its own."""
    await fail(cast(Any, server).error)


@toys.post("/broken/stripped", strips={500: ("error",), 400: ("error",), 415: ()})
async def broken_stripped(server: Parts, body: NewToy) -> None:
    """Fail, with less to say."""
    await fail(cast(Any, server).error)


@toys.put("/blob", public=True)
async def store(content: BinaryIO) -> PlainText:
    """Take any bytes."""
    return PlainText(content.read().decode("latin-1"))


@toys.get("/elsewhere", public=True)
async def elsewhere() -> Redirect:
    """Point away."""
    return Redirect("https://example.org/")


@toys.get("/chunks", public=True)
async def chunks() -> Blob:
    """Stream."""
    return Blob(chunks=[b"a"], headers={"x-a": "b"})


@toys.post("/nothing", public=True)
async def nothing(request: RequestFacts) -> dict[str, Any]:
    """Look at the request only."""
    return {"raw": request.raw.decode(), "base": request.base_url}


def signed_by(server: Parts, variables: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    return variables["kind"] if query.get("signature") == "good" else None


@toys.get("/signed/:kind", proof=signed_by)
async def signed(caller: Caller, kind: str) -> str:
    """Let a signature stand for a token."""
    return caller.account


@toys.get("/unencodable", public=True)
async def unencodable() -> Any:
    """Answer what is no JSON."""
    return object()


JSON = "application/json"
TOKEN = "Bearer a.token.of-ann"
GOOD = {"authorization": TOKEN, "x-signature": "s", "content-type": JSON}


class PipelineCase(SynchronousTestCase):
    """Tests that call toy endpoints."""

    def setUp(self) -> None:
        self.database = ToyDatabase()
        self.error: Exception = RuntimeError("secret words")
        self.server = toy_server(database=self.database)
        cast(Any, self.server).error = self.error
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def failing_with(self, error: Exception) -> None:
        cast(Any, self.server).error = error

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **variables: str,
    ) -> Answer:
        route = next(one for one in toys.routes if (one.method, one.path) == (method, path))
        sent = GOOD if headers is None else headers
        payload = payload_of
        inputs = Inputs(
            variables=variables,
            query=query,
            header=sent.get,
            payload=lambda: payload(method, sent.get("content-type"), len(body), BytesIO(body)),
            in_turns=Processor(self.server.clock).open("asker").in_turns,
            facts=lambda found: RequestFacts(
                base_url="http://h", address="1.2.3.4", raw=found.raw, header=sent.get
            ),
        )
        return self.successResultOf(Deferred.fromCoroutine(call_route(self.server, route, inputs)))

    def asked(self, *arguments: Any, **options: Any) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        answer = self.ask(*arguments, **options)
        assert isinstance(answer.content, bytes)
        return answer.status, json.loads(answer.content)

    def log_text(self) -> str:
        return "\n".join(str(event) for event in self.logged)
