"""The fast way for requests against Twisted's own, on whatever clients may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.base.bounds import Budget
from happy.web.bodies import CONNECTION_BYTES, SMALL
from happy.web.fastrequests import FastRequest
from tests.toys import toy_server
from tests.web import test_connections, test_endings, test_limits, test_resource, test_resource_facts
from tests.web.connecting import ANN, Polling
from tests.web.resources import Gates, toys
from tests.web.talking import Connection, Served, message

DATE = re.compile(rb"Date: [^\r]*\r\n")
OPEN, READ, LOSE, DRAIN = "open", "read", "lose", "drain"
Step = bytes | str | int
"""Bytes that arrive, seconds that pass, or one of the words above."""


class Story:
    """One connection that things happen to."""

    def __init__(self, *, fast: bool, room: int | None) -> None:
        self.gates = Gates()
        self.polling = Polling()
        memory = Budget(2 * (CONNECTION_BYTES + SMALL + 2000))
        self.server: Any = toy_server(hub=self.gates, memory=memory)
        self.served = Served(self.server, [toys], self.polling, fast=fast)
        self.connection = Connection(self.served.site)
        self.connection.wire.room = room
        self.lost = False

    def go(self, step: Step) -> tuple[Any, ...]:
        """Let one thing happen; everything that can be seen afterwards."""
        wire = self.connection.wire
        if isinstance(step, bytes):
            if not self.lost and wire.producerState != "paused":
                self.connection.send(step)
        elif isinstance(step, int):
            self.served.clock.advance(step)
        elif step == OPEN:
            self.gates.open()
        elif step == DRAIN:
            self.served.site.stop()
        if step == LOSE or wire.aborted:
            self._lose()
        return self._seen(wire.take() if step == READ and not self.lost else b"")

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.connection.lose()

    def _seen(self, taken: bytes) -> tuple[Any, ...]:
        wire = self.connection.wire
        return (
            DATE.sub(b"", taken),
            DATE.sub(b"", wire.value()),
            (wire.disconnecting, wire.half_closed, wire.aborted, wire.producerState),
            (len(self.served.router.work) > 0, self.server.memory.used),
            self.polling.seen,
            list(self._counted()),
        )

    def _counted(self) -> Iterator[bytes]:
        for line in self.server.metrics.exposition().splitlines():
            if line.startswith((b"http_requests_total{", b"http_request_duration_seconds_sum")):
                yield line


def events(steps: list[Step], room: int | None, *, fast: bool) -> list[tuple[Any, ...]]:
    """Everything that can be seen after each step; in the end the connection is lost and all work done."""
    story = Story(fast=fast, room=room)
    return [story.go(step) for step in [*steps, LOSE, *[OPEN] * len(steps)]]


OCTETS = {"content-type": "application/octet-stream"}
USUAL = [
    message("GET", "/"),
    message("GET", "/toys/a%20b?c=d", None, {**ANN, "X-Happy-Client": "ios/1.2"}),
    message("GET", "/facts", None, {**ANN, "X-Forwarded-For": "a, b", "X-Forwarded-Host": "x.test, y"}),
    message("GET", "/toys/b", None, {"Authorization": "Bearer breaks"}),
    message("POST", "/toys", b'{"name":"abc"}', ANN),
    message("POST", "/toys", b'{"name":7}', ANN),
    message("POST", "/toys", b"{", ANN),
    message("POST", "/toys", b"x", {**ANN, "content-type": "image/png"}),
    message("PUT", "/toys/a", b"x" * 800, OCTETS),
    message("PUT", "/toys/a", b"x" * (SMALL + 1), OCTETS),
    message("PUT", "/toys/a", b"", OCTETS),
    message("POST", "/small", b'{"name":"much"}'),
    message("DELETE", "/slow/a"),
    message("DELETE", "/slow/a", None, {"Connection": "close"}),
    message("DELETE", "/toys/%zz"),
    message("GET", "/long"),
    message("GET", "/file"),
    message("POST", "/boom"),
    message("GET", "/elsewhere"),
    message("GET", "/nowhere"),
    message("POST", "/nowhere", b"{"),
    message("GET", "//toys/b", None, ANN),
    message("GET", "/", None, {"connection": "Keep-Alive"}),
    message("GET", "/", None, {"connection": "x, Close"}),
    message("POST", "/v1/updates/?a", b"abc", {"Content-Type": "text/plain"}),
]
UNUSUAL = [
    message("GET", "/file", b"body"),
    message("HEAD", "/"),
    message("PATCH", "/toys"),
    message("OPTIONS", "/toys", None, {"origin": "o", "access-control-request-method": "PUT"}),
    message("GET", "/", version="1.0"),
    message("GET", "/", None, {"host": ""}),
    message("GET", "/", None, {"host": "a\r\nhost: b"}),
    message("GET", "/", None, {"upgrade": "websocket", "connection": "upgrade"}),
    message("GET", "/", None, {"x": "a\r\n b"}),
    message("GET", "/", None, {"x": "a\r\nx: b"}),
    message("GET", "/", None, {"x": "a\nb"}),
    message("GET", "/", None, {"x": "\x01\x7f\xe9"}),
    message("GET", "/", None, {"x": "y" * 16_300}),
    message("GET", "/", None, {"x": "y" * 17_000}),
    message("GET", "http://h/toys/a", None, ANN),
    message("PUT", "/toys/a", b"x" * 800, {**OCTETS, "expect": "100-continue"}),
    message("POST", "/toys", b"{}", {**ANN, "content-length": "+2"}),
    message("POST", "/toys", b"{}", {**ANN, "content-length": "0" * 30 + "2"}),
    message("POST", "/toys", b"{}", {**ANN, "content-length": "2\r\ncontent-length: 2"}),
    message("POST", "/toys", None, {**ANN, "transfer-encoding": "chunked"}) + b"2\r\n{}\r\n0\r\n\r\n",
    message("PUT", "/toys/a", b"x" * (SMALL + 2001), OCTETS),
    message("POST", "/toys", b"{}", {**ANN, "transfer-encoding": "identity"}),
    message("POST", "/toys", b"{}", {**ANN, "transfer-encoding": "chunked"}),
    b"\x16\x03\x01",
    b"NONSENSE\r\n",
    b"\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
    b"GET / HTTP/1.1\nHost: h\n\n",
]
HELLO, DROP = message("GET", "/"), message("DELETE", "/slow/a")
LAST = message("DELETE", "/slow/a", None, {"Connection": "close"})
MANGLED = st.tuples(st.sampled_from(USUAL), st.integers(0, 200), st.binary(max_size=5)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
)
REQUESTS = st.sampled_from(USUAL) | st.sampled_from(USUAL) | st.sampled_from(UNUSUAL) | MANGLED
PIPELINES = st.lists(REQUESTS, min_size=2, max_size=3).map(b"".join)
PIECES = st.tuples(REQUESTS | PIPELINES, st.integers(0, 300)).map(
    lambda parts: [parts[0][: parts[1]], parts[0][parts[1] :]]
)
WORDS = st.sampled_from([OPEN, OPEN, OPEN, READ, READ, LOSE, DRAIN])
HAPPENINGS = st.one_of(
    REQUESTS.map(lambda one: [one]),
    REQUESTS.map(lambda one: [one]),
    PIPELINES.map(lambda one: [one]),
    PIECES,
    WORDS.map(lambda one: [one]),
    st.sampled_from([1, 30, 71, 73, 200]).map(lambda one: [one]),
)
STORIES: st.SearchStrategy[list[Any]] = st.lists(HAPPENINGS, min_size=1, max_size=8).map(
    lambda found: [step for steps in found for step in steps]
)


@given(STORIES, st.sampled_from([None, None, 2000]))
def test_same_as_twisted(steps: list[Any], room: int | None) -> None:
    """Answers, the state of the connection, what is counted and held are the same after each step."""
    assert events(steps, room, fast=True) == events(steps, room, fast=False)


@pytest.mark.parametrize("sent", UNUSUAL + USUAL, ids=lambda sent: sent[:30].decode("latin-1"))
def test_each(sent: bytes) -> None:
    """Every kind of request is answered the same, alone and before and after another one."""
    for steps in ([sent], [sent, OPEN, USUAL[0]], [USUAL[0], sent, USUAL[10], OPEN, OPEN], [USUAL[10], sent]):
        assert events(list(steps), None, fast=True) == events(list(steps), None, fast=False)


@pytest.mark.parametrize(
    "steps",
    [
        [71, DROP, 1, 100, OPEN, 71, 1],
        [DROP, 73, 73, OPEN, 71, DROP, OPEN, 71, 1, 20],
        [DROP, 50, LAST, OPEN, OPEN, 100],
        [LAST, 100, OPEN, 100, DROP],
        [DROP, OPEN, DRAIN, DROP, 100],
        [LAST, OPEN, DRAIN, 30],
        [b"\r\n", DROP, OPEN, b"\r\n" + DROP, OPEN],
        [DROP + b"\r\n", OPEN, b"\r\n" + DROP, OPEN],
        [DROP + b"\r\n", OPEN, DROP, OPEN, b"\r\n" + DROP],
        [HELLO + b"\r\n", HELLO, b"\r\n" + HELLO],
        [DROP + DROP[:5], OPEN, 73],
        [message("GET", "/file", None, {"connection": "close"}), OPEN, 200, READ],
    ],
)
def test_time_and_remains(steps: list[Any]) -> None:
    """Waiting, and what is left of the bytes before, are the same."""
    assert events(steps, None, fast=True) == events(steps, None, fast=False)


class PathTests(SynchronousTestCase):
    """Which way requests take."""

    def under_way(self, sent: bytes, *, fast: bool = True) -> Any:
        """The request that a connection works on."""
        served = Served(toy_server(hub=Gates()), [toys], fast=fast)
        connection = served.connect()
        connection.send(sent)
        [request] = connection.channel.requests
        return request

    def test_usual(self) -> None:
        """A usual request does take the fast way, unless that is switched off."""
        for sent in (message("DELETE", "/slow/a"), message("PUT", "/toys/a", b"x", OCTETS)):
            self.assertIsInstance(self.under_way(sent), FastRequest)
            self.assertNotIsInstance(self.under_way(sent, fast=False), FastRequest)

    def test_unusual(self) -> None:
        """One with a header twice does not, nor one that comes in pieces."""
        twice = message("DELETE", "/slow/a", None, {"x": "a\r\nX: b"})
        self.assertNotIsInstance(self.under_way(twice), FastRequest)

    def test_one_write(self) -> None:
        """Head and body leave in one write."""
        connection = Served(toy_server(), [toys]).connect()
        written: list[bytes] = []
        connection.wire.write = written.append  # type: ignore[method-assign]
        connection.send(message("GET", "/"))
        self.assertEqual(len(written), 1)

    def test_broken_sending(self) -> None:
        """When sending fails, the connection is cut and nothing is left under way."""
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        served = Served(toy_server(), [toys])
        connection = served.connect()

        def fail(data: bytes) -> None:
            raise RuntimeError

        connection.wire.write = fail  # type: ignore[method-assign]
        connection.send(message("GET", "/"))
        self.assertTrue(connection.wire.aborted)
        self.assertEqual(len(served.router.work), 0)
        self.assertEqual(len(logged), 1)


def _with_general_parser() -> Iterator[tuple[str, type]]:
    """The tests of connections and of the router once more, without the fast way."""
    for module in (test_connections, test_limits, test_endings, test_resource, test_resource_facts):
        for name, found in vars(module).items():
            if isinstance(found, type) and issubclass(found, SynchronousTestCase) and name.endswith("Tests"):
                yield f"General{name}", type(f"General{name}", (found,), {"fast": False})


globals().update(_with_general_parser())
