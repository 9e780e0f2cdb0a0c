"""Nothing remains of a connection that is gone, without the garbage collector's help: it hardly ever runs."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from twisted.internet.defer import Deferred

from happy.api.declare import MIB, Caller, Capability
from happy.api.payload import Payload
from happy.api.slices import _Text
from happy.api.structs import Body, Invalid, MalformedJson
from happy.web.asked import Parsed
from happy.web.bodies import Keep, LargeBody, SmallBody
from happy.web.fastrequests import FastChannel, FastRequest
from happy.web.places import Place
from happy.web.request import HappyRequest
from happy.web.shares import Share
from tests.toys import toy_server
from tests.web.talking import Connection, Served, message

pytestmark = pytest.mark.usefixtures("young_heap")

KINDS = {
    FastChannel,
    HappyRequest,
    FastRequest,
    Parsed,
    Keep,
    Place,
    Share,
    SmallBody,
    LargeBody,
    Payload,
    _Text,
    Invalid,
    MalformedJson,
}

toys = Capability("toys")


class Toy(Body):
    name: str


@toys.post("/wait", limit=100 * MIB)
async def wait(server: Any, caller: Caller, body: Toy) -> int:
    """Take JSON, and time."""
    await server.hub
    return len(body.name)


@toys.put("/store", limit=100 * MIB)
async def store(caller: Caller, content: BinaryIO) -> int:
    """Take bytes."""
    return len(content.read())


@toys.get("/boom", public=True)
async def boom() -> None:
    """Fail."""
    raise RuntimeError


class World:
    """A site, and one connection to it."""

    def __init__(self) -> None:
        self.gate: Deferred[None] = Deferred()
        self.served = Served(toy_server(hub=self.gate), [toys])
        self.connection: Connection

    def send(self, data: bytes) -> World:
        self.connection.send(data)
        return self

    def open(self) -> None:
        if not self.gate.called:
            self.gate.callback(None)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.served.clock.advance(1)


ANN = {"Authorization": "Bearer a.token.of-ann"}
OCTETS = {**ANN, "content-type": "application/octet-stream"}
LARGE = b'{"name":"' + b"x" * 2 * MIB + b'"}'


def post(body: bytes, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return message("POST", "/wait", body, {**ANN, **named})


def chunked(body: bytes) -> bytes:
    return post(b"", content_length="", transfer_encoding="chunked") + b"%x\r\n" % len(body) + body


STORIES: dict[str, Callable[[World], object]] = {
    "silence": lambda world: world.wait(90),
    "half a head": lambda world: world.send(b"POST / HTTP/1.1\r\nHo"),
    "a slow head": lambda world: world.send(b"POST / HTTP").wait(90),
    "no head": lambda world: world.send(b"\x16\x03\x01"),
    "half a small body": lambda world: world.send(post(b"x" * 1000)[:-500]),
    "half a large body": lambda world: world.send(post(LARGE)[:-500]),
    "half a chunked body": lambda world: world.send(chunked(b"x" * 200_000)),
    "a slow body": lambda world: world.send(post(LARGE)[:-500]).wait(90),
    "a body that is too large": lambda world: world.send(post(b"", content_length="999999999")),
    "a chunked body that is too large": lambda world: world.send(
        chunked(b"x" * 200_000).replace(b"a.token", b"a.wrong") + b"\r\n100000\r\n" + b"x" * MIB
    ),
    "a bad chunk": lambda world: world.send(chunked(b"{}") + b"\r\nzz\r\n"),
    "bytes": lambda world: world.send(message("PUT", "/store", b"x" * 200_000, OCTETS)),
    "a misfit": lambda world: world.send(post(b'{"name":5}')),
    "a large misfit": lambda world: world.send(post(LARGE.replace(b'"name"', b'"name":5,"x"'))),
    "no JSON": lambda world: world.send(post(b"{")),
    "a large body of no JSON": lambda world: world.send(post(LARGE[:-1])),
    "deep JSON": lambda world: world.send(post(b"[" * 100_000)),
    "an answer": lambda world: world.send(post(b'{"name":"n"}')).open(),
    "an answer to much": lambda world: world.send(post(LARGE)).open(),
    "a failure": lambda world: world.send(message("GET", "/boom")),
    "a pipeline": lambda world: world.send(message("GET", "/nowhere") * 100 + b"junk\r\n\r\n"),
    "a pipeline that waits": lambda world: world.send(post(b'{"name":"n"}') * 9),
}


def remains() -> Counter[str]:
    """What there is of the kinds that make up a connection."""
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in KINDS)


@pytest.mark.parametrize("story", STORIES)
def test_nothing_remains(story: str) -> None:
    """Whatever was going on, when a connection is lost and its work is done nothing is left of it."""
    world = World()
    gc.collect()
    before = remains()
    gc.disable()
    try:
        for _ in range(3):
            world.connection = world.served.connect()
            world.connection.wire.room = 5000
            STORIES[story](world)
            world.connection.lose()
            world.served.clock.advance(0)
        world.open()
        del world.connection
        assert remains() == before
        assert world.served.server.memory.used == 0
        assert world.served.site.disk.used == 0
        assert len(world.served.site.places) == 0
        assert len(world.served.router.work) == 0
    finally:
        gc.enable()


def test_counted_at_all() -> None:
    """The counting finds what is there."""
    world = World()
    before = remains()
    world.connection = world.served.connect()
    world.send(post(b"x" * 1000)[:-500])
    found = remains() - before
    assert found == dict.fromkeys(("FastChannel", "HappyRequest", "Keep", "Place", "Share", "SmallBody"), 1)
