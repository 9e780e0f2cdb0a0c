"""From events to acknowledgements: what does not fit, errors, order (realtime.md B.6)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from happy.api.declare import Caller
from happy.api.pipeline import NO_ANSWER, TURN_SECONDS, call_event
from happy.api.structs import Body
from happy.base.errors import Overloaded
from tests.api.toyshop import (
    PipelineCase,
    Taken,
    toys,
)


class Report(Body):
    sid: str
    wait: bool = False


class Acked(msgspec.Struct):
    ok: bool


def explain(data: Any) -> dict[str, Any]:
    return {"got": data}


@toys.event("plain", invalid={"ok": False}, failure={"ok": None})
async def plain(tx: Any, caller: Caller, socket: Any, body: Report) -> Acked:
    """Answer."""
    if body.sid == "taken":
        raise Taken
    if body.sid == "fail":
        raise RuntimeError("secret words")
    return Acked(ok=True)


@toys.event("explained", invalid=explain)
async def explained(body: Report) -> None:
    """Explain what does not fit."""


@toys.event("silent", acks=False)
async def silent(body: Report) -> str:
    """Never answer."""
    return "answer"


@toys.event("crowded", acks=False)
async def crowded(body: Report) -> None:
    """Find a queue full."""
    raise Overloaded


@toys.event("ping")
async def ping() -> dict[str, Any]:
    """Look at nothing."""
    return {}


@toys.event("full", failure={"ok": None})
async def full() -> None:
    """Find a queue full."""
    raise Overloaded


@toys.event("full-silent", acks=False)
async def full_silent() -> None:
    """Find a queue full, with nobody to tell."""
    raise Overloaded


@toys.event("anything")
async def anything(body: Any) -> Any:
    """Take whatever comes."""
    return [body]


@toys.event("unprepared")
async def unprepared(body: Report) -> None:
    """Declare no answer for anything."""
    raise RuntimeError("secret words")


@toys.event("queued", serial=True)
async def queued(socket: Any, body: Report) -> str:
    """Wait for a turn."""
    socket.begun.append(body.sid)
    if body.wait:
        await socket.gate
    return body.sid


class EventTests(PipelineCase):
    """Events of sockets (realtime.md B.6, D-5, D-10)."""

    def handling(self, name: str, data: bytes | None, socket: Any = None) -> Deferred[Any]:
        event = next(one for one in toys.events if one.name == name)
        raw = None if data is None else msgspec.Raw(data)
        return Deferred.fromCoroutine(call_event(self.server, event, Caller("ann"), socket, raw))

    def handle(self, name: str, data: bytes | None) -> Any:
        return self.successResultOf(self.handling(name, data))

    def test_answer(self) -> None:
        """What the handler returns is the acknowledgement; its transaction holds the caller's account."""
        self.assertEqual(self.handle("plain", b'{"sid":"s"}'), Acked(ok=True))
        self.assertEqual(self.database.notes, [("transact", ("ann",)), ("committed",)])

    def test_invalid(self) -> None:
        """A data argument that is missing, no object, or wrong gets the declared answer."""
        for data in (
            None,
            b"null",
            b"5",
            b'"text"',
            b"[]",
            b"{}",
            b'{"sid":5}',
            b'{"sid":"\xff"}',
            b"[" * 9999,
        ):
            self.assertEqual(self.handle("plain", data), {"ok": False})
        self.assertEqual(self.database.notes, [])

    def test_explained(self) -> None:
        """The declared answer may depend on what came."""
        self.assertEqual(self.handle("explained", b'{"sid":[1]}'), {"got": {"sid": [1]}})
        self.assertEqual(self.handle("explained", None), {"got": None})
        self.assertEqual(self.handle("explained", b'{"sid":"\xff"}'), {"got": None})

    def test_refusal(self) -> None:
        """A refusal is acknowledged with its body."""
        self.assertEqual(self.handle("plain", b'{"sid":"taken"}'), {"error": "Taken"})
        self.assertEqual(self.database.notes[-1], ("rolled back",))

    def test_failure(self) -> None:
        """An unexpected error is acknowledged as declared, and logged without content."""
        self.assertEqual(self.handle("plain", b'{"sid":"fail"}'), {"ok": None})
        self.assertIn("Event plain", self.log_text())
        self.assertNotIn("secret", self.log_text())

    def test_nothing_declared(self) -> None:
        """Without a declared answer for it, a wrong or failing event is not acknowledged."""
        self.assertIs(self.handle("unprepared", b"{}"), NO_ANSWER)
        self.assertIs(self.handle("unprepared", b'{"sid":""}'), NO_ANSWER)

    def test_never_acknowledged(self) -> None:
        """An event without acknowledgement has none, whatever happens."""
        self.assertIs(self.handle("silent", b'{"sid":"s"}'), NO_ANSWER)
        self.assertIs(self.handle("silent", b"{}"), NO_ANSWER)

    def test_full_queue_closes_the_socket(self) -> None:
        """A sender that gets no acknowledgement learns from the close that nothing was done."""
        closed: list[bool] = []
        socket = SimpleNamespace(id="one", close=lambda: closed.append(True))
        self.successResultOf(self.handling("crowded", b'{"sid":"s"}', socket))
        self.assertEqual(closed, [True])
        self.assertEqual(self.log_text(), "")

    def test_overload_of_events(self) -> None:
        """A full queue is a failure to an event that is acknowledged; from any other its socket is closed."""
        for name, answer, closed in (("full", {"ok": None}, 0), ("full-silent", NO_ANSWER, 1)):
            calls: list[str] = []
            socket = SimpleNamespace(id="one", close=lambda calls=calls: calls.append("closed"))
            self.assertEqual(self.successResultOf(self.handling(name, None, socket)), answer)
            self.assertEqual(len(calls), closed)

    def test_data_nobody_asked_for(self) -> None:
        """An event that takes no data answers whatever comes with it (D-5)."""
        for data in (None, b"{}", b'"x"', b'{"a":"\xff"}'):
            self.assertEqual(self.handle("ping", data), {})

    def test_anything(self) -> None:
        """An event may take any JSON, and nothing at all."""
        self.assertEqual(self.handle("anything", b'"x"'), ["x"])
        self.assertEqual(self.handle("anything", None), [None])

    def test_serial(self) -> None:
        """Serial events of a socket take turns; those of another socket do not wait for them."""
        gate: Deferred[None] = Deferred()
        one = SimpleNamespace(id="one", begun=[], gate=gate)
        two = SimpleNamespace(id="two", begun=[], gate=gate)
        first = self.handling("queued", b'{"sid":"a","wait":true}', one)
        second = self.handling("queued", b'{"sid":"b"}', one)
        self.assertEqual(self.successResultOf(self.handling("queued", b'{"sid":"c"}', two)), "c")
        self.assertNoResult(second)
        gate.callback(None)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ("a", "b"))
        self.assertEqual(one.begun, ["a", "b"])

    def test_a_turn_that_does_not_come(self) -> None:
        """A serial event waits for its turn for some seconds, and takes none of those that come later."""
        gate: Deferred[None] = Deferred()
        socket = SimpleNamespace(id="one", begun=[], gate=gate)
        first = self.handling("queued", b'{"sid":"a","wait":true}', socket)
        second = self.handling("queued", b'{"sid":"b"}', socket)
        self.server.clock.advance(TURN_SECONDS - 1)
        third = self.handling("queued", b'{"sid":"c"}', socket)
        self.server.clock.advance(1)
        self.assertIs(self.successResultOf(second), NO_ANSWER)
        gate.callback(None)
        self.assertEqual((self.successResultOf(first), self.successResultOf(third)), ("a", "c"))

    def test_a_failed_turn_is_over(self) -> None:
        """A serial event that fails does not hold up the next one."""
        gate: Deferred[None] = Deferred()
        socket = SimpleNamespace(id="one", begun=[], gate=gate)
        first = self.handling("queued", b'{"sid":"a","wait":true}', socket)
        second = self.handling("queued", b'{"sid":"b"}', socket)
        gate.errback(RuntimeError("secret words"))
        self.assertIs(self.successResultOf(first), NO_ANSWER)
        self.assertEqual(self.successResultOf(second), "b")
