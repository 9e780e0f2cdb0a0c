"""WebSocket clients that read too slowly, or not at all."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from wsproto.events import CloseConnection, Message, Ping

from happy.realtime.socket import EncodedPacket, encode_event
from tests.realtime.programs import World


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
