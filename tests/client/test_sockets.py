"""The client's sockets, on a fake connection and a fake clock."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.client import (
    DataKeyCipher,
    Disconnected,
    RpcFailed,
    Scope,
    Socket,
    SocketRefused,
    call_sealed,
    sealed_method,
)
from happy.client._packets import Kind, Packet, decode_packet
from happy.client.sockets import METHOD_FAILED, NO_RESULT


class Link:
    """The server's end: notes what the socket says, and says what tests want."""

    def __init__(self) -> None:
        self.socket: Socket
        self.said: list[Packet] = []
        self.ended: list[tuple[str, str]] = []
        self.hangs = False

    def send(self, text: bytes) -> None:
        self.said.append(decode_packet(text[1:]))

    def close(self, reason: str) -> None:
        self.ended.append(("close", reason))
        if not self.hangs:
            self.socket.lost(reason)

    def abort(self, reason: str) -> None:
        self.ended.append(("abort", reason))
        self.socket.lost(reason)

    def event(self, *payload: Any, ack_id: int | None = None) -> None:
        self.socket.packet(Packet(Kind.EVENT, ack_id, list(payload)))

    def ack(self, ack_id: int, *arguments: Any) -> None:
        self.socket.packet(Packet(Kind.ACK, ack_id, list(arguments)))


def start(work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """A coroutine under way."""
    return Deferred.fromCoroutine(work)


class SocketCase(SynchronousTestCase):
    """A socket that was let in."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link, self.socket = self.connect({"token": "t"})
        self.joined = start(self.socket.joined(10))
        self.admit()

    def connect(self, auth: dict[str, Any], **options: Any) -> tuple[Link, Socket]:
        link = Link()
        link.socket = Socket(link, auth, self.clock, **options)
        link.socket.opened()
        return link, link.socket

    def admit(self, **members: Any) -> None:
        self.socket.packet(Packet(Kind.CONNECT, None, {"sid": "s1", **members}))


class ConnectingTests(SocketCase):
    """Being let in, refused, and gone."""

    def test_admission(self) -> None:
        """The socket presents its credentials, and is connected once the server agrees."""
        assert self.link.said == [Packet(Kind.CONNECT, None, {"token": "t"})]
        self.successResultOf(self.joined)
        assert (self.socket.id, self.socket.connected, self.socket.recovered) == ("s1", True, False)

    def test_scopes(self) -> None:
        """Each scope says what it is about."""
        assert Scope.user().auth("t") == {"token": "t", "clientType": "user-scoped"}
        assert Scope.session("s").auth("t") == {
            "token": "t",
            "clientType": "session-scoped",
            "sessionId": "s",
        }
        assert Scope.machine("m").auth(None) == {
            "token": None,
            "clientType": "machine-scoped",
            "machineId": "m",
        }

    def test_refusal(self) -> None:
        """A refusal closes the connection and is raised with the server's message."""
        link, socket = self.connect({})
        joining = start(socket.joined(10))
        socket.packet(Packet(Kind.CONNECT_ERROR, None, {"message": "Invalid authentication token"}))
        assert self.failureResultOf(joining, SocketRefused).value.message == "Invalid authentication token"
        assert [packet.kind for packet in link.said] == [Kind.CONNECT]
        assert link.ended[0][0] == "close"
        assert self.clock.getDelayedCalls() == []

    def test_no_answer(self) -> None:
        """A server that does not answer is given up in time."""
        link, socket = self.connect({})
        joining = start(socket.joined(10))
        self.clock.advance(10)
        self.failureResultOf(joining, TimeoutError)
        assert link.ended[0][0] == "close"

    def test_lost_before_admission(self) -> None:
        """A connection that goes away while joining is reported as such."""
        link, socket = self.connect({})
        joining = start(socket.joined(10))
        socket.lost("transport close")
        assert self.failureResultOf(joining, Disconnected).value.reason == "transport close"
        assert link.ended == []

    def test_orderly_close(self) -> None:
        """Closing says goodbye, ends the connection, and waits until it is gone."""
        self.link.hangs = True
        closing, closed = start(self.socket.close()), self.socket.closed()
        assert self.link.said[-1].kind is Kind.DISCONNECT
        self.assertNoResult(closing)
        self.socket.lost("client namespace disconnect")
        self.successResultOf(closing)
        assert self.successResultOf(closed) == "client namespace disconnect"
        assert not self.socket.connected
        assert self.clock.getDelayedCalls() == []

    def test_close_does_not_wait_for_ever(self) -> None:
        """A server that does not end the connection has it cut."""
        self.link.hangs = True
        closing = start(self.socket.close(timeout=3))
        self.clock.advance(3)
        self.successResultOf(closing)
        assert [how for how, _ in self.link.ended] == ["close", "abort"]

    def test_closing_twice(self) -> None:
        """A socket that is gone is closed already."""
        self.socket.abort()
        self.successResultOf(start(self.socket.close()))
        assert self.successResultOf(self.socket.closed()) == "transport close"

    def test_loss_fails_what_is_awaited(self) -> None:
        """Calls and readers fail when the connection goes, now and later; what came is still there."""
        self.link.event("update", {"body": {"t": "kept"}})
        waiting = [start(self.socket.call("ping")), start(self.socket.next_update("other"))]
        self.socket.lost("ping timeout")
        for each in [*waiting, start(self.socket.call("ping")), start(self.socket.next_ephemeral())]:
            assert self.failureResultOf(each, Disconnected).value.reason == "ping timeout"
        assert self.successResultOf(start(self.socket.next_update())) == {"body": {"t": "kept"}}
        self.assertRaises(Disconnected, self.socket.emit, "ping")
        assert self.clock.getDelayedCalls() == []

    def test_kicked(self) -> None:
        """A DISCONNECT of the server ends the socket and the connection."""
        self.socket.packet(Packet(Kind.DISCONNECT, None, None))
        assert self.link.ended == [("close", "server namespace disconnect")]

    def test_recovery(self) -> None:
        """The private id and the latest offset are remembered, and a kept private id means recovered."""
        self.link.event("update", {}, "offset-1")
        self.link.event("rpc-request", {"method": "m"}, "no offset", ack_id=1)
        assert self.socket.offset == "offset-1"
        _, again = self.connect({"pid": "p1", "offset": "offset-1"})
        joined = start(again.joined(10))
        again.packet(Packet(Kind.CONNECT, None, {"sid": "s1", "pid": "p1"}))
        self.successResultOf(joined)
        assert again.recovered


class EventTests(SocketCase):
    """Listening, waiting, calling."""

    def test_emit(self) -> None:
        """An event goes out with its arguments and no ack id."""
        self.socket.emit("session-end", {"sid": "x", "time": 1})
        assert self.link.said[-1] == Packet(Kind.EVENT, None, ["session-end", {"sid": "x", "time": 1}])

    def test_calls_get_their_own_answers(self) -> None:
        """Answers find their calls in whatever order they come; stray ones are ignored."""
        first, second = start(self.socket.call("ping")), start(self.socket.call("ping", 1, 2))
        assert [packet.ack_id for packet in self.link.said[1:]] == [0, 1]
        self.link.ack(1, {"n": 2}, "ignored")
        self.link.ack(0)
        self.link.ack(0, "again")
        self.link.ack(99)
        assert self.successResultOf(second) == {"n": 2}
        assert self.successResultOf(first) is None

    def test_call_without_answer(self) -> None:
        """A call fails in time, and its late answer is ignored."""
        call = start(self.socket.call("ping", timeout=5))
        self.clock.advance(5)
        self.failureResultOf(call, TimeoutError)
        self.link.ack(0, {})

    def test_listeners(self) -> None:
        """Listeners hear every event of their name until they stop; the offset is not shown to them."""
        heard: list[Any] = []
        stop = self.socket.on_update(heard.append)
        self.socket.on_ephemeral(heard.append)
        self.link.event("update", 1, "offset")
        self.link.event("ephemeral", 2)
        self.link.event("other", 3)
        stop()
        self.link.event("update", 4)
        assert heard == [1, 2]

    def test_failing_listener(self) -> None:
        """A listener's failure is logged and harms nobody else."""
        heard: list[Any] = []

        def fail(update: Any) -> None:
            raise RuntimeError("listener")

        self.socket.on_update(fail)
        self.socket.on_update(heard.append)
        self.link.event("update", 1)
        assert heard == [1]
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    def test_waiting_for_updates(self) -> None:
        """Updates are taken once each, by type or predicate, whether they came before or after asking."""
        one, two, three = ({"seq": n, "body": {"t": kind}} for n, kind in enumerate("aba"))
        self.link.event("update", one)
        later = start(self.socket.next_update("b"))
        self.link.event("update", two)
        self.link.event("update", three)
        assert self.successResultOf(later) == two
        last = self.successResultOf(start(self.socket.next_update(lambda update: update["seq"] > 0)))
        assert last == three
        assert self.socket.untaken("update") == [one]
        assert self.successResultOf(start(self.socket.next_update())) == one

    def test_waiting_for_signals(self) -> None:
        """Passing signals are awaited by their type."""
        waiting = start(self.socket.next_ephemeral("usage"))
        self.link.event("ephemeral", {"type": "activity"})
        self.link.event("ephemeral", {"type": "usage"})
        assert self.successResultOf(waiting) == {"type": "usage"}

    def test_waiting_in_vain(self) -> None:
        """Waiting ends in time, and what comes later is there for the next reader."""
        waiting = start(self.socket.next_update(timeout=2))
        self.clock.advance(2)
        self.failureResultOf(waiting, TimeoutError)
        self.link.event("update", 1)
        assert self.successResultOf(start(self.socket.next_update())) == 1

    def test_failing_predicate(self) -> None:
        """A predicate that fails fails its reader; the event goes to the next one."""
        bad = start(self.socket.next_update(lambda update: update["missing"]))
        good = start(self.socket.next_update())
        self.link.event("update", {})
        self.failureResultOf(bad, KeyError)
        assert self.successResultOf(good) == {}

    def test_kept_events_are_bounded(self) -> None:
        """Only so many events are kept, the latest; with none kept, listening still works."""
        link, socket = self.connect({}, keep=2)
        for n in range(4):
            link.event("update", n)
        assert socket.untaken("update") == [2, 3]
        link, socket = self.connect({}, keep=0)
        waiting = start(socket.next_update())
        link.event("update", 1)
        link.event("update", 2)
        assert self.successResultOf(waiting) == 1
        assert socket.untaken("update") == []


class RemoteCallTests(SocketCase):
    """Answering and making remote calls."""

    def register(self, method: str, answer: Any) -> None:
        registering = start(self.socket.register(method, answer))
        assert self.link.said[-1] == Packet(Kind.EVENT, None, ["rpc-register", {"method": method}])
        self.assertNoResult(registering)
        self.link.event("rpc-registered", {"method": "another"})
        self.link.event("rpc-registered", {"method": method})
        self.successResultOf(registering)

    def test_answering(self) -> None:
        """A registered method answers, at once or later; the ids find their way back."""
        later: Deferred[str] = Deferred()
        self.register("m:now", lambda params: {"got": params})
        self.register("m:later", lambda params: later)
        self.link.event("rpc-request", {"method": "m:later"}, ack_id=4)
        self.link.event("rpc-request", {"method": "m:now", "params": [1]}, ack_id=5)
        later.callback("done")
        assert self.link.said[-2:] == [Packet(Kind.ACK, 5, [{"got": [1]}]), Packet(Kind.ACK, 4, ["done"])]

    def test_failing_method(self) -> None:
        """A method that fails, or returns what cannot be sent, is logged and answered with an error."""
        self.register("m:bad", lambda params: params["missing"])
        self.register("m:odd", lambda params: object())
        for number, method in enumerate(("m:bad", "m:odd")):
            self.link.event("rpc-request", {"method": method, "params": {}}, ack_id=number)
            assert self.link.said[-1] == Packet(Kind.ACK, number, [{"error": METHOD_FAILED}])
        assert len(self.flushLoggedErrors(KeyError, TypeError)) == 2

    def test_answers_that_are_errors(self) -> None:
        """A call fails whose method failed or answered nothing, even if the server says that it went well."""
        answers = ({"ok": True, "result": {"error": METHOD_FAILED}}, {"ok": True})
        for number, answer in enumerate(answers):
            call = start(self.socket.rpc("m:bad"))
            self.link.ack(number, answer)
            assert self.failureResultOf(call, RpcFailed).value.error in (METHOD_FAILED, NO_RESULT)
        call = start(self.socket.rpc("m:x"))
        self.link.ack(2, {"ok": True, "result": None})
        assert self.successResultOf(call) is None

    def test_requests_of_unknown_methods_are_kept(self) -> None:
        """A request that no method answers can be awaited like any event."""
        self.link.event("rpc-request", {"method": "m:x"}, ack_id=0)
        assert self.successResultOf(start(self.socket.next_event("rpc-request"))) == {"method": "m:x"}

    def test_unregistering(self) -> None:
        """A method that was taken back answers no more."""
        self.register("m:x", lambda params: 1)
        leaving = start(self.socket.unregister("m:x"))
        self.link.event("rpc-unregistered", {"method": "m:x"})
        self.successResultOf(leaving)
        before = len(self.link.said)
        self.link.event("rpc-request", {"method": "m:x"}, ack_id=0)
        assert len(self.link.said) == before

    def test_calling(self) -> None:
        """A call returns the result, and raises the server's error."""
        call = start(self.socket.rpc("m:x", {"a": 1}))
        assert self.link.said[-1].payload == ["rpc-call", {"method": "m:x", "params": {"a": 1}}]
        self.link.ack(0, {"ok": True, "result": 7})
        assert self.successResultOf(call) == 7
        call = start(self.socket.rpc("m:x"))
        self.link.ack(1, {"ok": False, "error": "RPC method not available"})
        assert self.failureResultOf(call, RpcFailed).value.error == "RPC method not available"

    def test_sealed(self) -> None:
        """Sealed methods open and seal, errors included, and a sealed call undoes it."""
        cipher = DataKeyCipher.generate()

        async def double(number: int) -> int:
            await succeed(None)
            return number * 2

        for params, answer in ((21, 42), ("x", "xx"), (None, None)):
            call = start(call_sealed(self.socket, cipher, "m:double", params))
            sent = self.link.said[-1]
            answering: Any = sealed_method(cipher, double)(sent.payload[1]["params"])
            result = self.successResultOf(start(answering))
            assert sent.ack_id is not None
            self.link.ack(sent.ack_id, {"ok": True, "result": result})
            if answer is None:
                self.failureResultOf(call, RpcFailed)
            else:
                assert self.successResultOf(call) == answer
