"""WebSockets of the endpoint, against wsproto as the client: opening, frames, closing."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from typing import Any

import pytest
from autobahn.twisted import websocket as twisted_protocol
from autobahn.websocket import protocol
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from happy.socketio.websocket import _unrendered
from tests.socketio.peers import WebSocketPeer
from tests.socketio.programs import PATH, UPGRADE, World


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
        assert b"x-own: first\r\nvary: origin" in head
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
        world = World(kept_headers=("x-who", "x-other"))
        target = f"{PATH}?EIO=4&transport=websocket&t=1&b64=1&a=1&a=2&b=%C3%A9"
        headers = [(b"X-Who", b"a"), (b"X-Who", b"b"), (b"X-More", b"c")]
        WebSocketPeer(world.site, world.clock, target, extra_headers=headers).text("40")
        assert dict(world.program.socket.handshake.headers) == {"x-who": "a, b"}
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
        world.endpoint.stop().addCallback(done.append)
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
        world.endpoint.stop().addCallback(done.append)
        world.clock.advance(5)
        world.clock.advance(0)
        assert done == [None]
        assert not world.clock.getDelayedCalls()

    def test_shutting_down_with_nobody_there(self) -> None:
        """Then there is nothing to wait for."""
        done: list[None] = []
        World().endpoint.stop().addCallback(done.append)
        assert done == [None]


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


def test_nothing_is_rendered() -> None:
    """What Autobahn would render for its log, for each connection and chunk, is rendered for nobody."""
    for module in (protocol, twisted_protocol):
        renderers = {"hlid", "hltype", "hlval", "pformat"} & vars(module).keys()
        assert renderers
        assert {vars(module)[name] for name in renderers} == {_unrendered}
