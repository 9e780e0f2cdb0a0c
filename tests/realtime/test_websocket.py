"""The endpoint over WebSocket, against wsproto as the client."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage

from happy.realtime.socket import Arguments, ConnectRefused, EncodedPacket, Socket, Undecided, encode_event
from tests.realtime.peers import WebSocketPeer
from tests.realtime.programs import PATH, UPGRADE, World

SOCKET_ID = 20


def raw_frame(payload: bytes, first: int = 0x81, *, masked: bool = True) -> bytes:
    """A client's frame, as broken as the test wants it; the mask is zero."""
    length = len(payload)
    if length < 126:
        size = bytes([length | masked << 7])
    elif length < 65536:
        size = bytes([126 | masked << 7]) + length.to_bytes(2, "big")
    else:
        size = bytes([127 | masked << 7]) + length.to_bytes(8, "big")
    return bytes([first]) + size + (bytes(4) if masked else b"") + payload


class TestOpening:
    """A.5: the handshake."""

    def test_open_packet(self) -> None:
        """The open packet comes at once, with no upgrade to offer and Happy's intervals."""
        client = World().websocket(joined=False)
        [text] = [event.data for event in client.events if isinstance(event, TextMessage)]
        assert text[0] == "0"
        assert list(json.loads(text[1:]).items())[1:] == [
            ("upgrades", []),
            ("pingInterval", 15000),
            ("pingTimeout", 45000),
            ("maxPayload", 1000000),
        ]

    def test_head(self) -> None:
        """The 101 allows any origin, and accepts neither compression nor anything else."""
        client = World().websocket(extra_headers=[(b"Sec-WebSocket-Extensions", b"permessage-deflate")])
        head = client.head.lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"access-control-allow-origin: *\r\naccess-control-allow-credentials: true" in head
        assert b"sec-websocket-extensions" not in head
        assert b"server:" not in head

    def test_first_subprotocol_is_spoken(self) -> None:
        """Of the subprotocols that a client offers the first is chosen."""
        client = World().websocket(subprotocols=["first", "second"])
        assert b"sec-websocket-protocol: first" in client.head.lower() + b"\r\n"

    @pytest.mark.parametrize("step", [1, 2, 7, 64])
    def test_any_split(self, step: int) -> None:
        """It does not matter how the bytes arrive."""
        world = World()
        client = world.websocket(step=step)
        client.text("421" + '["x","é"]', "3")
        assert world.last == ("event", "x", ['"é"'.encode()])

    @given(st.lists(st.integers(0, 1200), max_size=12))
    def test_any_cuts(self, cuts: list[int]) -> None:
        """Wherever the stream is cut: fragments, pings, long and empty frames all come out the same."""
        stream = b"".join(
            [
                *(
                    raw_frame(b'42["a"]'),
                    raw_frame(b"", 0x89),
                    raw_frame(b'42["b', 0x01),
                    raw_frame(b"!", 0x89),
                ),
                *(
                    raw_frame(b'","', 0x00),
                    raw_frame("é".encode()[:1], 0x00),
                    raw_frame("é".encode()[1:], 0x00),
                ),
                *(raw_frame(b'"]', 0x80), raw_frame(b"3"), raw_frame(b'42["' + b"c" * 900 + b'"]')),
                *(raw_frame(b'451-["d",{"_placeholder":true,"num":0}]'), raw_frame(b"", 0x82)),
            ]
        )
        world = World()
        client = world.websocket()
        edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
        for start, end in itertools.pairwise(edges):
            client.send(stream[start:end])
        assert world.program.heard[2:] == [
            ("event", "a", []),
            ("event", "b", ['"é"'.encode()]),
            ("event", "c" * 900, []),
            ("event", "d", [b'{"_placeholder":true,"num":0}']),
        ]
        assert [event.payload for event in client.receive() if isinstance(event, Pong)] == [b"", b"!"]

    def test_frames_right_behind_the_request(self) -> None:
        """Nothing is lost of what a hasty client sends before it saw the 101."""
        world = World()
        request = (
            f"GET {PATH}?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        peer = world.peer()
        peer.send(request + raw_frame(b"40") + raw_frame(b'42["x"]')[:5])
        peer.send(raw_frame(b'42["x"]')[5:])
        assert world.last == ("event", "x", [])

    def test_keep_alive_connections_may_be_upgraded(self) -> None:
        """An upgrade may follow plain requests on the same connection."""
        world = World()
        peer = world.peer()
        assert peer.ask("GET", f"{PATH}?EIO=4&transport=polling").status == 200
        peer.request(
            "GET",
            f"{PATH}?EIO=4&transport=websocket",
            headers={**UPGRADE, "Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket"},
        )
        assert peer.take().startswith(b"HTTP/1.1 101")

    def test_reading_goes_on(self) -> None:
        """A transport that the web server had paused is read again."""
        world = World()
        peer = world.peer()
        peer.transport.pauseProducing()
        peer.request("GET", f"{PATH}?EIO=4&transport=websocket", headers=UPGRADE)
        assert peer.transport.producerState == "producing"

    def test_no_timer_of_the_web_server_is_left(self) -> None:
        """An idle WebSocket has its heartbeat, and nothing that would end it as an idle HTTP connection."""
        world = World()
        client = world.websocket()
        [heartbeat] = world.clock.getDelayedCalls()
        assert heartbeat.getTime() == 15.0
        for _ in range(20):
            world.clock.advance(15)
            client.text("3")
        assert not client.closed

    def test_handshake_facts(self) -> None:
        """The program sees the headers that settings keep, and the query without the transport's own."""
        world = World(kept_headers=("x-happy-client", "x-other"))
        target = f"{PATH}?EIO=4&transport=websocket&t=1&b64=1&a=1&a=2&b=%C3%A9"
        headers = [(b"X-Happy-Client", b"a"), (b"X-Happy-Client", b"b"), (b"X-More", b"c")]
        WebSocketPeer(world.site, world.clock, target, extra_headers=headers).text("40")
        assert dict(world.program.socket.handshake.headers) == {"x-happy-client": "a, b"}
        assert dict(world.program.socket.handshake.query) == {"a": "2", "b": "é"}


class TestFrames:
    """A.5: what Autobahn must do for us."""

    def test_fragments_are_put_together(self) -> None:
        """A fragmented message is one message, also with a ping in between."""
        world = World()
        client = world.websocket()
        client.send_event(TextMessage("42[", message_finished=False), Ping(b"!"), TextMessage('"x"]'))
        assert world.last == ("event", "x", [])
        assert [event.payload for event in client.receive() if isinstance(event, Pong)] == [b"!"]

    @pytest.mark.parametrize(
        ("frames", "code"),
        [
            ([raw_frame(b"4\xff")], 1007),
            ([raw_frame(b"4\xed\xa0\x80")], 1007),
            ([raw_frame(b"40", masked=False)], 1002),
            ([raw_frame(b"40", 0xC1)], 1002),
            ([raw_frame(b"40", 0x83)], 1002),
            ([raw_frame(b"4" + b"x" * 100)], 1009),
            ([raw_frame(b"4" + b"x" * 60, 0x01), raw_frame(b"x" * 60, 0x80)], 1009),
            ([raw_frame(b"x" * 101, 0x82)], 1009),
        ],
    )
    def test_violations_have_their_codes(self, frames: list[bytes], code: int) -> None:
        """Bad UTF-8, missing masks, unknown bits and oversized messages each end with their own code."""
        world = World(max_payload=100)
        client = world.websocket()
        client.send(b"".join(frames))
        assert client.closing() == code
        assert world.last == ("disconnected", "/", "transport error")
        assert world.endpoint.count == 0

    def test_largest_message(self) -> None:
        """A message of exactly the limit is taken."""
        world = World(max_payload=100)
        world.websocket().text('42["' + "x" * 94 + '"]')
        assert world.last == ("event", "x" * 94, [])

    def test_client_closes(self) -> None:
        """Closing in due form is answered alike, and is no error."""
        world = World()
        client = world.websocket()
        client.send_event(CloseConnection(1000, "bye"))
        assert client.closing() == 1000
        assert client.closed
        assert world.last == ("disconnected", "/", "transport close")

    def test_bare_close_of_the_client(self) -> None:
        """A close frame without code is answered without code."""
        client = World().websocket()
        client.send(raw_frame(b"", 0x88))
        assert client.closing() == 1005

    def test_connection_breaks(self) -> None:
        """Disconnecting without a close frame is an error."""
        world = World()
        world.websocket().drop()
        assert world.last == ("disconnected", "/", "transport error")

    def test_close_packet(self) -> None:
        """An Engine.IO close packet closes at once, without status code."""
        world = World()
        client = world.websocket()
        client.text("1")
        assert client.closing() == 1005
        assert world.last == ("disconnected", "/", "transport close")

    def test_a_client_that_does_not_answer_the_close_is_cut_off(self) -> None:
        """Every close has a limit, whoever began it."""
        world = World(close_timeout=5.0)
        client = world.websocket()
        world.program.socket.close()
        world.clock.advance(0)
        assert client.closing() == 1005
        world.clock.advance(4.9)
        assert not client.transport.aborted
        world.clock.advance(0.1)
        assert client.transport.aborted
        assert client.closed
        assert not world.clock.getDelayedCalls()

    @pytest.mark.parametrize("frame", [raw_frame(b"40", masked=False), raw_frame(b"", 0x88)])
    def test_a_client_that_does_not_read_the_close_is_cut_off(self, frame: bytes) -> None:
        """That holds for violations and for closes of the client as well."""
        world = World(close_timeout=5.0)
        client = world.websocket()
        client.transport.full = True
        client.send(frame)
        world.clock.advance(5)
        assert client.transport.aborted

    def test_heartbeat(self) -> None:
        """Pings go out after the interval; without a pong the connection is closed."""
        world = World()
        client = world.websocket()
        world.clock.advance(15)
        assert client.texts() == ["2"]
        client.text("3")
        world.clock.advance(15)
        assert client.texts() == ["2"]
        world.clock.advance(45)
        assert client.closing() == 1005
        assert world.last == ("disconnected", "/", "ping timeout")

    def test_heartbeat_of_a_stalled_server(self) -> None:
        """After a stall of the server's own, what clients sent meanwhile is read before they are given up."""
        world = World()
        clients = [world.websocket() for _ in range(2)]
        world.clock.advance(15)
        world.clock.callLater(50, clients[0].text, "3")
        world.clock.advance(50)
        assert [client.closed for client in clients] == [False, False]
        world.clock.advance(5)
        assert [client.closed for client in clients] == [False, True]


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
        """Where nobody can decide, the transport is closed without a reply."""
        world = World()

        def fail(socket: Socket) -> None:
            raise failure

        world.program.decide = fail
        client = world.websocket(joined=False)
        client.text("40")
        assert client.closing() == 1005
        assert world.program.heard == [("connect", "/", None)]

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
        """Calls are numbered from zero; each answer reaches its caller; stray and late ones nobody."""
        world = World()
        client = world.websocket()
        answers: list[Any] = []
        for name in "abc":
            world.program.socket.call(name, {"q": 1}, answers.append)
        assert client.texts() == ['420["a",{"q":1}]', '421["b",{"q":1}]', '422["c",{"q":1}]']
        world.program.socket.forget_call(2)
        client.text('431["one"]', "430[]", '432["forgotten"]', '431["again"]', '4377["stray"]', "43[1]")
        assert [[bytes(part) for part in answer] for answer in answers] == [[b'"one"'], []]

    def test_calls_end_with_the_socket(self) -> None:
        """A call to a socket that goes, or is gone, is answered with None."""
        world = World()
        client = world.websocket()
        answers: list[Any] = []
        world.program.socket.call("a", None, answers.append)
        client.drop()
        assert answers == [None]
        world.program.socket.call("b", None, answers.append)
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
        world.program.socket.call("x", None, fail)
        client.text('42["a"]', '42["b"]', "430[]")
        assert world.last == ("event", "b", [])
        world.program.socket.call("x", None, fail)
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


class TestClosing:
    """A.10, by the server."""

    def test_close(self) -> None:
        """What was sent before goes out, then a bare close; the program hears of it afterwards, once."""
        world = World()
        client = world.websocket()
        socket = world.program.socket
        socket.emit("last")
        socket.close()
        socket.emit("too late")
        socket.close()
        assert world.program.heard[-1] == ("joined", "/")
        world.clock.advance(0)
        assert world.program.heard[-1] == ("disconnected", "/", "forced server close")
        message, close = client.receive()
        assert isinstance(message, TextMessage)
        assert message.data == '42["last"]'
        assert isinstance(close, CloseConnection)
        assert close.code == 1005
        client.send_event(close.response())
        assert client.closed
        assert not client.transport.aborted
        assert len([heard for heard in world.program.heard if heard[0] == "disconnected"]) == 1

    def test_events_of_a_closing_client(self) -> None:
        """Once closing, nothing of the client matters."""
        world = World()
        world.program.react = lambda socket, name, arguments, ack: socket.close()
        client = world.websocket()
        client.text('42["a"]', '42["b"]')
        assert world.program.heard[-1] == ("event", "a", [])

    def test_shutting_down(self) -> None:
        """Everybody is closed without DISCONNECT, and told apart; nobody new is served."""
        world = World()
        client, polling = world.websocket(), world.polling()
        poll = polling.start_poll()
        done: list[None] = []
        world.endpoint.close_all().addCallback(done.append)
        reasons = [heard[2] for heard in world.program.heard if heard[0] == "disconnected"]
        assert reasons == ["server shutting down"] * 2
        response = poll.response()
        assert response is not None
        assert response.packets == [b"1"]
        assert client.closing() == 1005
        assert not done
        client.send_event(CloseConnection(1000))
        assert client.closed
        assert done == [None]
        assert world.endpoint.count == 0
        assert world.peer().ask("GET", f"{PATH}?EIO=4&transport=polling").status == 403

    def test_shutting_down_is_bounded(self) -> None:
        """A client that does not answer the close is cut off, and nothing is remembered of any."""
        world = World(close_timeout=5.0)
        world.websocket()
        world.polling()
        done: list[None] = []
        world.endpoint.close_all().addCallback(done.append)
        world.clock.advance(5)
        world.clock.advance(0)
        assert done == [None]
        assert not world.clock.getDelayedCalls()

    def test_shutting_down_with_nobody_there(self) -> None:
        """Then there is nothing to wait for."""
        done: list[None] = []
        World().endpoint.close_all().addCallback(done.append)
        assert done == [None]


class TestSlowReaders:
    """D-21."""

    def test_backlog_is_kept_in_order(self) -> None:
        """While the transport is full packets wait, and go out as soon as there is room."""
        world = World()
        client = world.websocket()
        client.transport.full = True
        socket = world.program.socket
        packets = [encode_event("x", number) for number in range(5)]
        for packet in packets:
            socket.send(packet)
        assert client.texts() == ['42["x",0]']
        assert socket.queued_bytes == sum(len(packet.frames) for packet in packets)
        client.transport.drain()
        assert client.texts() == [f'42["x",{number}]' for number in range(1, 5)]
        assert socket.queued_bytes == 0

    def test_room_for_a_part(self) -> None:
        """If the transport becomes full again, the rest waits on, and so does the client's patience."""
        world = World(slow_reader_seconds=60.0)
        client = world.websocket()
        transport = client.transport
        transport.full = True
        for number in range(3):
            world.program.socket.emit("x", number)
        world.clock.advance(14)
        assert transport.producer is not None
        transport.producer.resumeProducing()
        assert client.texts() == ['42["x",0]', '42["x",1]']
        transport.drain()
        assert client.texts() == ['42["x",2]']
        for _ in range(8):
            world.clock.advance(14)
            client.text("3")
        assert not client.closed

    def test_too_much(self) -> None:
        """A client for which too much waits is cut off; the program hears of it, but not while sending."""
        dropped: list[str] = []
        world = World(max_queued_bytes=1000, dropped=dropped.append)
        client = world.websocket()
        client.transport.full = True
        socket = world.program.socket
        packet = EncodedPacket(b"4" + b"x" * 396)
        for _ in range(3):
            socket.send(packet)
        assert client.transport.aborted
        assert dropped == ["size"]
        assert world.program.heard[-1] == ("joined", "/")
        assert world.last == ("disconnected", "/", "transport error")
        assert socket.queued_bytes == 0

    def test_too_much_for_all(self) -> None:
        """While too much waits for all clients, those with more than their share are cut off, no others."""
        dropped: list[str] = []
        world = World(max_queued_by_all=1000, dropped=dropped.append)
        clients = [world.websocket() for _ in range(3)]

        def send(number: int, size: int) -> None:
            clients[number].transport.full = True
            world.program.sockets[number].send(EncodedPacket(b"4" + b"x" * (size - 5)))

        for number, waiting in enumerate((600, 300, 200)):
            send(number, 100)  # fills the transport, and does not count
            send(number, waiting)
        assert dropped == []
        send(1, 30)
        assert dropped == []
        send(0, 100)
        assert dropped == ["crowd"]
        assert [client.transport.aborted for client in clients] == [True, False, False]
        send(2, 200)
        assert dropped == ["crowd"]
        clients[1].transport.drain()
        clients[2].transport.lost(ConnectionDone())
        assert world.endpoint._factory.pending_bytes == 0

    def test_too_long(self) -> None:
        """A client that leaves our buffers full for too long is cut off, heartbeat or not."""
        dropped: list[str] = []
        world = World(slow_reader_seconds=60.0, dropped=dropped.append)
        client = world.websocket()
        client.transport.full = True
        world.program.socket.emit("x")
        for _ in range(5):
            world.clock.advance(11.9)
            client.text("3")
        assert not client.transport.aborted
        world.clock.advance(0.5)
        assert client.transport.aborted
        assert dropped == ["time"]
        assert world.last == ("disconnected", "/", "transport error")
        assert not world.clock.getDelayedCalls()

    def test_pings_do_not_pile_up(self) -> None:
        """A client that pings without reading is not answered: its pongs would need memory without bound."""
        world = World()
        client = world.websocket()
        client.transport.full = True
        world.program.socket.emit("x")
        client.receive()
        client.send_event(*[Ping(b"?") for _ in range(100)])
        assert client.receive() == []

    def test_closing_a_slow_reader(self) -> None:
        """The close frame comes behind what waits; if that takes too long the connection is cut."""
        world = World(close_timeout=5.0)
        client = world.websocket()
        client.transport.full = True
        for number in range(2):
            world.program.socket.emit("x", number)
        world.program.socket.close()
        world.clock.advance(0)
        assert client.texts() == ['42["x",0]']
        client.transport.drain()
        message, close = client.receive()
        assert isinstance(message, Message)
        assert isinstance(close, CloseConnection)
        world.clock.advance(5)
        assert client.transport.aborted

    def test_slow_reader_that_leaves(self) -> None:
        """Nothing is kept of a client that is gone."""
        world = World()
        client = world.websocket()
        client.transport.full = True
        for number in range(2):
            world.program.socket.emit("x", number)
        client.transport.lost(ConnectionDone())
        assert not world.clock.getDelayedCalls()
        assert world.program.socket.queued_bytes == 0


def test_nothing_is_kept_of_the_web_server() -> None:
    """Channel and request are gone as soon as the connection was handed over."""
    world = World()
    seen: list[weakref.ref[Any]] = []
    render = world.endpoint.render

    def spy(request: Any) -> None:
        seen.extend((weakref.ref(request), weakref.ref(request.channel)))
        render(request)

    world.endpoint.render = spy  # type: ignore[method-assign]
    gc.disable()
    try:
        client = world.websocket()
        assert [reference() for reference in seen] == [None, None]
    finally:
        gc.enable()
    client.text('42["x"]')
    assert world.last == ("event", "x", [])


def test_little_is_kept_of_the_handshake() -> None:
    """An open WebSocket keeps nothing that only its handshake needed."""
    world = World()
    client = world.websocket()
    [websocket] = world.endpoint._factory.open
    kept = vars(websocket)
    assert not [name for name in kept if name.startswith(("http_", "_wskey", "websocket_pro"))]
    assert len(kept) < 60
    assert client.transport.protocol is websocket
