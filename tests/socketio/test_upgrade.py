"""Connections that move from long polling to WebSocket."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone
from wsproto.events import CloseConnection

from happy.socketio.socket import Attachment
from tests.socketio.peers import WebSocketPeer
from tests.socketio.programs import PATH, World


class TestUpgrade:
    """A.7."""

    def test_upgrade(self) -> None:
        """After probe and commit everything goes over the WebSocket, in the order it was sent."""
        world = World()
        client = world.polling()
        socket = world.program.socket
        websocket = client.websocket()
        websocket.text("2probe")
        assert websocket.texts() == ["3probe"]
        assert socket.transport == "polling"
        poll = client.start_poll()
        world.clock.advance(0.1)
        response = poll.response()
        assert response is not None
        assert response.packets == [b"6"]
        socket.emit("x", 0)
        assert client.poll().packets == [b'42["x",0]']
        socket.emit("x", 1)
        socket.emit("x", Attachment(b"\1"))
        websocket.text("5", '42["y"]')
        assert socket.transport == "websocket"
        socket.emit("x", 2)
        assert websocket.messages() == [
            '42["x",1]',
            '451-["x",{"_placeholder":true,"num":0}]',
            b"\1",
            '42["x",2]',
        ]
        assert world.last == ("event", "y", [])

    def test_polling_is_over(self) -> None:
        """Requests with this sid are bad requests from then on."""
        world = World()
        client = world.polling()
        poll = client.start_poll()
        websocket = client.websocket()
        websocket.text("5")
        late = poll.response()
        assert late is not None
        for response in (late, client.poll(), client.post(b"4x")):
            assert (response.status, response.json["code"]) == (400, 3)
        websocket.text('42["x"]')
        assert world.last == ("event", "x", [])

    @pytest.mark.parametrize("text", ["4x", "2", "3probe", "", "junk"])
    def test_anything_else(self, text: str) -> None:
        """Any other packet closes the WebSocket; polling lives on, and may try again."""
        world = World()
        client = world.polling()
        websocket = client.websocket()
        websocket.text(text)
        assert websocket.closing() == 1005
        assert client.post(b'42["x"]').status == 200
        assert world.last == ("event", "x", [])
        again = client.websocket()
        again.text("2probe", "5", '42["y"]')
        assert world.last == ("event", "y", [])

    def test_timeout(self) -> None:
        """Without a commit in time the WebSocket is closed; polling lives on."""
        world = World()
        client = world.polling()
        websocket = client.websocket()
        websocket.text("2probe")
        websocket.receive()
        world.clock.advance(10)
        assert websocket.closing() == 1005
        assert client.post(b'42["x"]').status == 200
        assert world.last == ("event", "x", [])

    def test_lost_on_the_way(self) -> None:
        """So it does if the WebSocket breaks before the commit."""
        world = World()
        client = world.polling()
        websocket = client.websocket()
        websocket.text("2probe")
        websocket.transport.lost(ConnectionDone())
        assert client.post(b'42["x"]').status == 200
        assert world.last == ("event", "x", [])

    @pytest.mark.parametrize("commands", [[], ["2probe"], ["2probe", "5"]])
    def test_second_websocket(self, commands: list[str]) -> None:
        """A second WebSocket is accepted and closed at once; the first goes on."""
        world = World()
        client = world.polling()
        first = client.websocket()
        first.text(*commands)
        first.receive()
        second = client.websocket()
        assert [event.code for event in second.events if isinstance(event, CloseConnection)] == [1005]
        first.text("5", '42["x"]')
        assert world.last == ("event", "x", [])
        second.transport.lost(ConnectionDone())
        first.transport.full = True
        world.program.socket.emit("y")
        assert world.program.socket.queued_bytes > 0

    def test_no_takeover(self) -> None:
        """A session that started on WebSocket takes no other one, whoever knows its sid."""
        world = World()
        client = world.websocket()
        [sid] = world.endpoint._connections
        target = f"{PATH}?EIO=4&transport=websocket&sid={sid}"
        thief = WebSocketPeer(world.site, world.clock, target)
        assert [event.code for event in thief.events if isinstance(event, CloseConnection)] == [1005]
        client.text('42["x"]')
        assert world.last == ("event", "x", [])

    def test_losing_the_upgraded_transport(self) -> None:
        """After the commit the WebSocket is all there is."""
        world = World()
        websocket = world.polling().websocket()
        websocket.text("5")
        websocket.drop()
        assert world.last == ("disconnected", "/", "transport error")
        assert world.endpoint.count == 0

    def test_heartbeat_goes_on(self) -> None:
        """Pings come over the WebSocket after the commit, even if a pong was lost across the switch."""
        world = World()
        client = world.polling()
        websocket = client.websocket()
        world.clock.advance(9)
        websocket.text("2probe", "5")
        websocket.receive()
        world.clock.advance(15)
        assert websocket.texts() == ["2"]

    def test_closing_while_upgrading(self) -> None:
        """The end of polling is the end of the WebSocket standing by."""
        world = World()
        client = world.polling()
        websocket = client.websocket()
        client.post(b"1")
        assert websocket.closing() == 1005
