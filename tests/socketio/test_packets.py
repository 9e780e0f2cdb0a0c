"""Socket.IO over a WebSocket of the endpoint: what is refused, namespaces, events and answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from wsproto.events import BytesMessage, TextMessage

from happy.base.bounds import Budget
from happy.socketio.socket import Arguments, ConnectRefused, Handshake, Socket, Undecided, encode_event
from tests.socketio.peers import call_id
from tests.socketio.programs import World

SOCKET_ID = 20
MALFORMED = [
    *("47", "48", "4", "40null", "40[]", '40"x"', '40{"a"', "42{}", '42"x"', "42[]", "42[null]", "42[{}]"),
    *("42notjson", "431{}", "41{}", "41/foo", '42/foo,["x"]', '44{"message":"x"}', '45["x"]', '45x-["x"]'),
    *("4abc", "", "a", "abc", "bAQI=", "7", "40", '421.5["x"]', '42-1["x"]', '42abc["x"]'),
    *(f'42["{name}"]' for name in ("connect", "connect_error", "disconnect", "disconnecting")),
    *('42["newListener"]', '42["removeListener"]', "2", "2probe", '4511-["x"]'),
]
TOLERATED = [
    "42",
    "429",
    "43",
    "43[]",
    '4399["x"]',
    '42/,1["x"]',
    '42["error"]',
    "42[1,2]",
    "0",
    "5",
    "6",
    "3x",
]


class TestMalformed:
    """A.13, on a joined WebSocket."""

    @pytest.mark.parametrize("text", MALFORMED)
    def test_closes(self, text: str) -> None:
        """The connection is closed, without a word, and the program hears of it."""
        world = World()
        client = world.websocket()
        client.text(text, '42["after"]')
        assert client.closing() == 1005
        assert world.last[0] == "disconnected"
        assert world.last[2] in ("forced close", "parse error", "transport error")
        assert ("event", "after", []) not in world.program.heard

    def test_text_in_place_of_an_attachment(self) -> None:
        """So it is when text comes where binary data is due."""
        world = World()
        client = world.websocket()
        client.text('451-["x",{"_placeholder":true,"num":0}]', '42["after"]')
        assert client.closing() == 1005
        assert world.last == ("disconnected", "/", "forced close")

    @pytest.mark.parametrize("text", TOLERATED)
    def test_tolerates(self, text: str) -> None:
        """Nothing comes of it, and the connection lives on."""
        world = World()
        client = world.websocket()
        client.text(text, '42["after"]')
        assert client.texts() == []
        assert world.last == ("event", "after", [])

    @given(st.text(st.characters(codec="utf-8"), max_size=30))
    def test_anything(self, text: str) -> None:
        """Whatever a client sends, it is served or closed, and others notice nothing."""
        world = World()
        other = world.websocket()
        client = world.websocket()
        client.text(text, f"4{text}", f"42{text}")
        other.text('42["still"]')
        assert world.last == ("event", "still", [])


class TestNamespaces:
    """A.12."""

    def test_joining(self) -> None:
        """The CONNECT reply holds a fresh sid, and comes before anything that greeting sends."""
        world = World()
        world.program.greet = lambda socket: socket.emit("welcome")
        client = world.websocket(joined=False)
        client.text('40{"token":"x"}')
        reply, welcome = client.texts()
        assert reply == f'40{{"sid":"{world.program.socket.id}"}}'
        assert len(world.program.socket.id) == SOCKET_ID
        assert welcome == '42["welcome"]'
        assert world.program.heard == [("connect", "/", b'{"token":"x"}'), ("joined", "/")]

    def test_ids_are_apart(self) -> None:
        """The Socket.IO id is not the transport's secret."""
        world = World()
        client = world.websocket()
        opened = next(event.data for event in client.events if isinstance(event, TextMessage))
        assert world.program.socket.id not in opened

    def test_refused(self) -> None:
        """A refused client hears why, and may try again on the same transport."""
        world = World()

        def refuse(socket: Socket) -> None:
            raise ConnectRefused("Invalid authentication token")

        world.program.decide = refuse
        client = world.websocket(joined=False)
        client.text("40")
        assert client.texts() == ['44{"message":"Invalid authentication token"}']
        world.program.decide = lambda socket: None
        client.text("40")
        assert client.texts()[0].startswith("40{")

    @pytest.mark.parametrize("failure", [Undecided(), RuntimeError("secret")])
    def test_undecided(self, failure: Exception) -> None:
        """Where nobody can decide, the transport is closed without a reply; faults are told."""
        told: list[Exception] = []
        world = World(handler_failed=lambda what, error: told.append(error))

        def fail(socket: Socket) -> None:
            raise failure

        world.program.decide = fail
        client = world.websocket(joined=False)
        client.text("40")
        assert client.closing() == 1005
        assert world.program.heard == [("connect", "/", None)]
        assert told == ([] if isinstance(failure, Undecided) else [failure])

    def test_deciding_may_take_a_while(self) -> None:
        """The reply waits for the decision."""
        world = World()
        decision: Deferred[None] = Deferred()
        world.program.decide = lambda socket: decision
        client = world.websocket(joined=False)
        client.text("40")
        assert client.texts() == []
        decision.callback(None)
        assert client.texts() == [f'40{{"sid":"{world.program.socket.id}"}}']

    def test_refused_after_a_while(self) -> None:
        """A refusal may come later too."""
        world = World()
        decision: Deferred[None] = Deferred()
        world.program.decide = lambda socket: decision
        client = world.websocket(joined=False)
        client.text("40")
        decision.errback(ConnectRefused("no"))
        assert client.texts() == ['44{"message":"no"}']

    @pytest.mark.parametrize("outcome", [None, ConnectRefused("no"), Undecided()])
    def test_gone_while_deciding(self, outcome: Exception | None) -> None:
        """A client that left meanwhile is not heard of again."""
        world = World()
        decision: Deferred[None] = Deferred()
        world.program.decide = lambda socket: decision
        client = world.websocket()
        client.drop()
        if outcome is None:
            decision.callback(None)
        else:
            decision.errback(outcome)
        world.clock.advance(0)
        assert world.program.heard == [("connect", "/", None)]

    @pytest.mark.parametrize("text", ['42["x"]', "40", "41"])
    def test_nothing_else_while_deciding(self, text: str) -> None:
        """Until the reply, anything but an acknowledgement is a violation."""
        world = World()
        world.program.decide = lambda socket: Deferred()
        client = world.websocket()
        client.text("43[]", text)
        assert client.closing() == 1005

    def test_early_acknowledgement(self) -> None:
        """An answer that comes before CONNECT is dropped, and the client may join."""
        world = World()
        client = world.websocket(joined=False)
        client.text('430["late"]', "40")
        assert world.last == ("joined", "/")

    @pytest.mark.parametrize("text", ['42["x"]', "41", '42/custom,["x"]'])
    def test_nothing_else_before_joining(self, text: str) -> None:
        """A client that did not join has nothing to say."""
        client = World().websocket(joined=False)
        client.text(text)
        assert client.closing() == 1005

    def test_nobody_joins(self) -> None:
        """A connection that joins nothing is closed in time, refusals or not."""
        world = World(connect_timeout=20.0)
        world.program.decide = lambda socket: Deferred()
        client = world.websocket(joined=False)
        client.text("40/nowhere")
        assert client.texts() == ['44/nowhere,{"message":"Invalid namespace"}']
        world.clock.advance(15)
        client.text("3")
        world.clock.advance(4.9)
        assert client.texts() == ["2"]
        world.clock.advance(0.1)
        assert client.closing() == 1005

    def test_leaving_and_coming_back(self) -> None:
        """DISCONNECT is not answered; a new CONNECT makes a new socket; no timer runs meanwhile."""
        world = World()
        client = world.websocket()
        first = world.program.socket
        client.text("41")
        assert client.texts() == []
        assert world.last == ("disconnected", "/", "client namespace disconnect")
        for _ in range(4):
            world.clock.advance(15)
            client.text("3")
        client.receive()
        client.text("40")
        assert client.texts() == [f'40{{"sid":"{world.program.socket.id}"}}']
        assert world.program.socket.id != first.id

    def test_several_namespaces(self) -> None:
        """One transport carries several sockets, each with its own events, and all end with it."""
        world = World()
        client = world.websocket()
        client.text("40/custom,{}", '42/custom,["x"]')
        assert world.last == ("event", "x", [])
        world.program.socket.emit("y", 1)
        assert client.texts()[1:] == ['42/custom,["y",1]']
        client.drop()
        assert [heard[1] for heard in world.program.heard if heard[0] == "disconnected"] == ["/", "/custom"]

    def test_kicked(self) -> None:
        """The server may make a socket leave; the transport stays."""
        world = World()
        client = world.websocket()
        socket = world.program.socket
        socket.disconnect()
        socket.disconnect()
        socket.emit("late")
        assert client.texts() == ["41"]
        assert world.last == ("disconnected", "/", "server namespace disconnect")
        client.text("40")
        assert client.texts()[0].startswith("40{")


class TestEvents:
    """A.11."""

    def test_acknowledging(self) -> None:
        """An acknowledgement goes out once, whatever it holds."""
        world = World()

        def react(socket: Socket, name: str, arguments: Any, ack: Any) -> None:
            ack(*arguments, 1.0)
            ack("again")

        world.program.react = react
        client = world.websocket()
        client.text('4212["x",{"a": "é"}]')
        assert client.texts() == ['4312[{"a": "é"},1]']

    def test_no_acknowledgement_wanted(self) -> None:
        """Without an id there is nothing to answer with."""
        world = World()
        acks: list[Any] = []
        world.program.react = lambda socket, name, arguments, ack: acks.append(ack)
        world.websocket().text('42["x"]')
        assert acks == [None]

    def test_calling(self) -> None:
        """Calls are numbered one after the other; each answer reaches its caller; stray ones nobody."""
        world = World()
        client = world.websocket()
        answers: list[Any] = []
        for name in "abc":
            world.program.socket.call(name, {"q": 1}, answered=answers.append)
        texts = client.texts()
        first = call_id(texts[0], "a")
        assert texts == [f'42{first + n}["{name}",{{"q":1}}]' for n, name in enumerate("abc")]
        world.program.socket.forget_call(first + 2)
        client.text(f'43{first + 1}["one"]', f"43{first}[]", f'43{first + 2}["forgotten"]')
        client.text(f'43{first + 1}["again"]', f'43{first + 77}["stray"]', "43[1]")
        assert [[bytes(part) for part in answer] for answer in answers] == [[b'"one"'], []]

    def test_calls_end_with_the_socket(self) -> None:
        """A call to a socket that goes, or is gone, is answered with None."""
        world = World()
        client = world.websocket()
        answers: list[Any] = []
        world.program.socket.call("a", None, answered=answers.append)
        client.drop()
        assert answers == [None]
        world.program.socket.call("b", None, answered=answers.append)
        assert answers == [None, None]

    def test_binary(self) -> None:
        """Binary data comes beside the arguments, and goes out as messages of its own."""
        world = World()

        def react(socket: Socket, name: str, arguments: Any, ack: Any) -> None:
            assert isinstance(arguments, Arguments)
            socket.emit("back", *arguments.values())
            ack(*arguments.values())

        world.program.react = react
        client = world.websocket()
        hole = '{"_placeholder":true,"num":0}'
        client.send_event(TextMessage(f'451-9["x",{hole}]'), BytesMessage(b"\0\xff"))
        assert client.messages() == [f'451-["back",{hole}]', b"\0\xff", f"461-9[{hole}]", b"\0\xff"]

    def test_handlers_may_fail(self) -> None:
        """A failing handler is its program's problem: the connection goes on, and all its events come."""
        world = World()

        def fail(*arguments: Any) -> None:
            raise RuntimeError("secret")

        world.program.react = fail
        world.program.greet = fail
        client = world.websocket()
        number = world.program.socket.call("x", None, answered=fail)
        client.text('42["a"]', '42["b"]', f"43{number}[]")
        assert world.last == ("event", "b", [])
        world.program.socket.call("x", None, answered=fail)
        client.drop()
        assert world.last == ("disconnected", "/", "transport error")

    def test_one_encoding_for_all(self) -> None:
        """A fan-out writes the same bytes object to every connection."""
        world = World()
        written: list[bytes] = []
        for client in (world.websocket(), world.websocket()):
            client.transport.write = written.append  # type: ignore[method-assign]
        packet = encode_event("x", Raw(b'{"a":1}'))
        for socket in world.program.sockets:
            socket.send(packet)
        assert written[0] is written[1] is packet.frames


class TestShares:
    """Who pays for a client depends on whether it is in a namespace."""

    @pytest.mark.parametrize("kicked", [True, False])
    def test_left(self, kicked: bool) -> None:
        """One that has left all of its namespaces is a stranger again, but not before."""
        memory = Budget(100_000)
        world = World(memory=memory, session_bytes=1000)
        client = world.websocket()
        client.text("40/custom,")
        light = memory.used
        for namespace, socket in zip(("/", "/custom"), world.program.sockets, strict=True):
            assert memory.used == light
            if kicked:
                socket.disconnect()
            else:
                client.text("41" if namespace == "/" else "41/custom,")
            world.clock.advance(0)
        assert memory.used == light + 1000


def test_nothing_to_complain_of() -> None:
    """Answers to nothing, or without a content, are no failure of the program's."""
    world = World()
    client = world.websocket()
    with capturedLogs() as logged:
        client.text("43", "43[]", "431", '4399["x"]')
    assert logged == []


@pytest.mark.parametrize(
    ("handshake", "size"),
    [
        (Handshake(), 0),
        (Handshake({"a": "bc"}), 3),
        (Handshake({}, {"d": ""}), 1),
        (Handshake({"a": "b"}, {"c": "d"}), 4),
    ],
)
def test_size_of_a_handshake(handshake: Handshake, size: int) -> None:
    """All that is kept of a request counts."""
    assert handshake.size == size
