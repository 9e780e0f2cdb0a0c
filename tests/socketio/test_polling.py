"""The endpoint over HTTP long-polling, and the way from there to WebSocket."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given

from happy.socketio.socket import Attachment, EncodedPacket
from happy.wire.engineio import PACKET_BYTES
from tests.socketio.peers import Peer, PollingPeer
from tests.socketio.programs import World
from tests.strategies import texts
from tests.toys import toy_server
from tests.web.talking import Served


def unknown_sid(client: PollingPeer) -> bool:
    """Whether the session is gone."""
    response = client.poll()
    return (response.status, response.json["code"]) == (400, 1)


class TestRequests:
    """A.4."""

    def test_handshake(self) -> None:
        """The first GET is answered with the open packet alone, which offers the upgrade."""
        opened = World().polling(joined=False).open
        del opened["sid"]
        assert opened == {
            "upgrades": ["websocket"],
            "pingInterval": 15000,
            "pingTimeout": 45000,
            "maxPayload": 1000000,
        }

    def test_headers(self) -> None:
        """Answers are not to be stored, may be read by any origin, and say what they are."""
        client = World().polling(joined=False)
        assert client.post(b"40").headers == {
            "x-own": "first",
            "vary": "Origin",
            "cache-control": "no-store",
            "content-type": "text/html",
            "content-length": "2",
        }
        response = client.poll()
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.headers["content-length"] == str(len(response.body))
        assert response.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        ("agent", "protected"), [("Mozilla/5.0;MSIE 9", True), ("Trident/7", True), ("Firefox", False)]
    )
    def test_old_browsers(self, agent: str, protected: bool) -> None:
        """Internet Explorer is told not to look for scripts in answers."""
        client = World().polling(joined=False)
        response = client.post(b"40", headers={"User-Agent": agent})
        assert response.headers.get("x-xss-protection") == ("0" if protected else None)

    def test_poll_is_held(self) -> None:
        """A poll waits for something to say, and takes it all."""
        world = World()
        client = world.polling()
        poll = client.start_poll()
        assert poll.response() is None
        world.program.socket.emit("x", "é")
        response = poll.response()
        assert response is not None
        assert response.packets == ['42["x","é"]'.encode()]
        for number in range(2):
            world.program.socket.emit("x", number)
        assert client.poll().packets == [b'42["x",0]', b'42["x",1]']

    def test_keep_alive(self) -> None:
        """One connection serves request after request."""
        world = World()
        client = world.polling()
        peer = client.start_poll()
        world.program.socket.emit("x")
        assert peer.response() is not None
        assert peer.ask("POST", client.target, b'42["y"]').body == b"ok"
        assert world.last == ("event", "y", [])

    def test_several_packets(self) -> None:
        """A body may hold several packets, binary ones too."""
        world = World()
        client = world.polling()
        hole = b'{"_placeholder":true,"num":0}'
        assert client.post(b'42["a"]\x1e451-["b",' + hole + b']\x1ebAQI=\x1e42["c"]').body == b"ok"
        assert [heard[1] for heard in world.program.heard[-3:]] == ["a", "b", "c"]

    def test_binary_answers(self) -> None:
        """Binary data comes as base64 behind its packet."""
        world = World()
        client = world.polling()
        world.program.socket.emit("x", Attachment(b"\xfb\xff"))
        text, binary = client.poll().packets
        assert text == b'451-["x",{"_placeholder":true,"num":0}]'
        assert binary == b"b+/8="
        assert base64.b64decode(binary[1:]) == b"\xfb\xff"

    @given(texts)
    def test_any_text_arrives(self, text: str) -> None:
        """What is said comes back the same, over whatever encodings."""
        world = World()
        world.program.react = lambda socket, name, arguments, ack: socket.emit(name, *arguments)
        client = world.polling()
        world.program.socket.emit("x", text)
        [sent] = client.poll().packets
        client.post(sent)
        assert client.poll().packets == [sent]

    @pytest.mark.parametrize("body", [b"abc", b"", b'42["x"]\x1e', b"2", b"2probe", b"42{}", b"bAQI="])
    def test_bad_bodies(self, body: bytes) -> None:
        """A bad body is answered ok, but the session is over."""
        world = World()
        client = world.polling()
        assert (client.post(body).status, world.last[0]) == (200, "disconnected")
        if body not in (b"42{}", b"bAQI="):
            assert unknown_sid(client)

    def test_overlapping_polls(self) -> None:
        """The first is answered with a close packet, the second with an empty 400; the session is over."""
        world = World()
        client = world.polling()
        first = client.start_poll()
        second = client.poll()
        assert (second.status, second.body) == (400, b"")
        response = first.response()
        assert response is not None
        assert response.packets == [b"1"]
        assert unknown_sid(client)
        assert world.last == ("disconnected", "/", "transport error")

    def test_dropped_poll(self) -> None:
        """A client that drops its poll is gone."""
        world = World()
        client = world.polling()
        client.start_poll().drop()
        assert world.last == ("disconnected", "/", "transport error")
        assert unknown_sid(client)

    def test_dropped_after_the_answer(self) -> None:
        """Once a poll was answered its connection may go."""
        world = World()
        client = world.polling()
        poll = client.start_poll()
        world.program.socket.emit("x")
        poll.drop()
        assert client.post(b'42["y"]').status == 200
        assert world.last == ("event", "y", [])

    def test_octets(self) -> None:
        """A body that is declared to be binary ends the session, and is answered."""
        world = World()
        client = world.polling()
        response = client.post(b"4x", headers={"Content-Type": "application/octet-stream"})
        assert (response.status, response.body) == (400, b"")
        assert world.last == ("disconnected", "/", "transport error")

    def test_too_large(self) -> None:
        """A body beyond the limit is refused, and the session lives on; one of exactly the limit is fine."""
        world = World(max_payload=100)
        client = world.polling()
        response = client.post(b'42["' + b"x" * 95 + b'"]')
        assert (response.status, response.body) == (413, b"")
        assert client.post(b'42["' + b"x" * 94 + b'"]').status == 200
        assert world.last == ("event", "x" * 94, [])

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_other_methods(self, method: str) -> None:
        """There is nothing but GET and POST."""
        world = World()
        client = world.polling()
        response = world.peer().ask(method, client.target)
        assert (response.status, response.json["code"]) == (400, 2)
        assert world.endpoint.count == 1


class TestBodies:
    """POSTs whose bodies take their time, on the site that tells the endpoint of them (A.4)."""

    @pytest.fixture
    def world(self) -> World:
        world = World(max_payload=100)
        world.site = Served(toy_server(clock=world.clock), [], world.endpoint).site
        return world

    def start_post(self, world: World, client: PollingPeer, body: bytes, length: int) -> Peer:
        peer = world.peer()
        peer.send(f"POST {client.target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        peer.send(body)
        return peer

    def test_overlapping(self, world: World) -> None:
        """Of two the first is cut off and the second refused, which ends the session."""
        client = world.polling()
        poll = client.start_poll()
        first = self.start_post(world, client, b'42["x', 7)
        second = self.start_post(world, client, b'42["y"]', 7)
        response = second.response()
        assert response is not None
        assert (response.status, response.headers["connection"], response.body) == (400, "close", b"")
        assert first.transport.aborted
        assert first.take() == b""
        ending = poll.response()
        assert ending is not None
        assert ending.packets == [b"1"]
        assert world.last == ("disconnected", "/", "transport error")
        assert unknown_sid(client)

    def test_lost(self, world: World) -> None:
        """A body that breaks off ends the session."""
        client = world.polling()
        self.start_post(world, client, b'42["x', 7).drop()
        assert world.last == ("disconnected", "/", "transport error")
        assert unknown_sid(client)

    def test_in_pieces(self, world: World) -> None:
        """A body may come in pieces, while the session goes on, and be followed by another."""
        client = world.polling()
        peer = self.start_post(world, client, b'42["x', 7)
        world.program.socket.emit("z")
        assert client.poll().packets == [b'42["z"]']
        peer.send(b'"]')
        response = peer.response()
        assert response is not None
        assert response.body == b"ok"
        assert client.post(b'42["y"]').body == b"ok"
        assert [heard[1] for heard in world.program.heard[-2:]] == ["x", "y"]

    def test_refused(self, world: World) -> None:
        """A body that is too large is in nobody's way."""
        client = world.polling()
        assert self.start_post(world, client, b"", 101).response().status == 413  # type: ignore[union-attr]
        assert client.post(b'42["y"]').body == b"ok"

    @pytest.mark.parametrize("header", ["Origin: \x7f", "Upgrade: websocket\r\nConnection: upgrade"])
    def test_never_accepted(self, world: World, header: str) -> None:
        """A request that would be refused anyway does not count as the session's."""
        client = world.polling()
        peer = world.peer()
        peer.send(
            f"POST {client.target} HTTP/1.1\r\nHost: a\r\n{header}\r\nContent-Length: 1\r\n\r\n".encode()
        )
        assert client.post(b'42["y"]').body == b"ok"
        peer.drop()
        assert client.post(b'42["z"]').body == b"ok"


class TestEnding:
    """A.10."""

    def test_client_closes_while_polling(self) -> None:
        """The poll is answered with a noop."""
        world = World()
        client = world.polling()
        poll = client.start_poll()
        assert client.post(b"1").body == b"ok"
        response = poll.response()
        assert response is not None
        assert response.packets == [b"6"]
        assert unknown_sid(client)
        assert world.last == ("disconnected", "/", "transport close")

    def test_poll_that_crosses_the_close(self) -> None:
        """A poll right after the close is answered with a noop too."""
        world = World()
        client = world.polling()
        client.post(b"1")
        world.clock.advance(0.09)
        assert client.poll().packets == [b"6"]
        assert unknown_sid(client)

    def test_poll_that_comes_too_late(self) -> None:
        """But not for long."""
        world = World()
        client = world.polling()
        client.post(b"1")
        world.clock.advance(0.1)
        assert unknown_sid(client)
        assert not world.clock.getDelayedCalls()

    def test_server_closes_while_polling(self) -> None:
        """The poll hears the close packet."""
        world = World()
        client = world.polling()
        poll = client.start_poll()
        world.program.socket.close()
        world.clock.advance(0)
        response = poll.response()
        assert response is not None
        assert response.packets == [b"1"]
        assert unknown_sid(client)

    def test_server_closes_between_polls(self) -> None:
        """The close is remembered for half a minute."""
        world = World()
        client = world.polling()
        world.program.socket.close()
        assert world.last == ("disconnected", "/", "forced server close")
        world.clock.advance(29)
        assert client.post(b'42["ignored"]').body == b"ok"
        assert client.poll().packets == [b"6", b"1"]
        assert unknown_sid(client)
        assert world.last == ("disconnected", "/", "forced server close")

    def test_server_closes_in_the_middle_of_a_body(self) -> None:
        """The rest of the body does not matter then."""
        world = World()
        world.program.react = lambda socket, name, arguments, ack: socket.close()
        assert world.polling().post(b'42["a"]\x1e42["b"]').body == b"ok"
        assert world.program.heard[-1] == ("event", "a", [])

    def test_nobody_asks(self) -> None:
        """And then forgotten."""
        world = World()
        client = world.polling()
        world.program.socket.close()
        world.clock.advance(0)
        world.clock.advance(30)
        assert world.endpoint.count == 0
        assert unknown_sid(client)

    def test_what_is_queued_comes_first(self) -> None:
        """Closing loses nothing that was sent before."""
        world = World()
        client = world.polling()
        world.program.socket.emit("last")
        world.program.socket.close()
        world.clock.advance(0)
        assert client.poll().packets == [b'42["last"]', b"1"]

    def test_ping_timeout(self) -> None:
        """Pings end polls; without a pong the next poll hears the close packet."""
        world = World()
        client = world.polling()
        poll = client.start_poll()
        world.clock.advance(15)
        response = poll.response()
        assert response is not None
        assert response.packets == [b"2"]
        client.post(b"3")
        world.clock.advance(15)
        assert client.poll().packets == [b"2"]
        poll = client.start_poll()
        world.clock.advance(45)
        response = poll.response()
        assert response is not None
        assert response.packets == [b"1"]
        assert world.last == ("disconnected", "/", "ping timeout")

    def test_too_much_is_queued(self) -> None:
        """A client that does not poll while much is said to it is dropped, though not while sending."""
        dropped: list[str] = []
        world = World(max_queued_bytes=1500, dropped=dropped.append)
        client = world.polling()
        packet = EncodedPacket(b"4" + b"x" * 396)
        for number in range(1, 4):
            world.program.socket.send(packet)
            assert world.program.socket.queued_bytes == number * (len(packet.frames) + PACKET_BYTES)
        assert world.program.heard[-1] == ("joined", "/")
        assert world.last == ("disconnected", "/", "transport error")
        assert unknown_sid(client)
        assert dropped == ["size"]
        assert world.program.socket.queued_bytes == 0

    def test_undecided(self) -> None:
        """A client that nobody can decide about is closed without a reply."""
        world = World()

        def fail(socket: Any) -> None:
            raise RuntimeError("secret")

        world.program.decide = fail
        client = world.polling(joined=False)
        client.post(b"40")
        assert client.poll().packets == [b"6", b"1"]


def test_exactly_as_much_as_may_be_queued() -> None:
    """The limit itself is not too much."""
    packet = EncodedPacket(b"4" + b"x" * 396)
    size = len(packet.frames) + PACKET_BYTES
    dropped: list[str] = []
    world = World(max_queued_bytes=2 * size, dropped=dropped.append)
    client = world.polling()
    for _ in range(2):
        world.program.socket.send(packet)
    world.clock.advance(0)
    assert (dropped, len(client.poll().packets)) == ([], 2)
