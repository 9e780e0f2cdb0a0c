"""WebSocket clients that read too slowly, or not at all."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from wsproto.events import CloseConnection, Message, Ping

from happy.base.bounds import Budget
from happy.base.pace import QUEUE_SECONDS
from happy.socketio.backlog import FRAME_BYTES, MOST_AT_ONCE, PORTION
from happy.socketio.socket import EncodedPacket, Socket, encode_event
from tests.socketio.peers import TurningClock
from tests.socketio.programs import World


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
        assert socket.queued_bytes == sum(len(packet.frames) for packet in packets) + 4 * FRAME_BYTES
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

    def test_large_packet_in_portions(self) -> None:
        """What is too large to be written at once waits without a copy, in order, until there is room."""
        world = World(max_queued_bytes=1000, max_memory=100_000_000)
        client = world.websocket()
        client.transport.full = True
        socket = world.program.socket
        packet = encode_event("large", "x" * (2 * PORTION))
        socket.send(packet)
        assert len(packet.frames) - PORTION <= socket.queued_bytes <= len(packet.frames) + FRAME_BYTES
        for _ in range(2):
            assert client.transport.producer is not None
            client.transport.producer.resumeProducing()
        client.transport.drain()
        socket.emit("y")
        assert client.texts() == [packet.text.decode(), '42["y"]']
        assert socket.queued_bytes == 0

    def test_large_packet_to_a_fast_reader(self) -> None:
        """Others have their turn while the system takes everything; what is sent meanwhile comes after it."""
        world = World()
        client = world.websocket()
        socket = world.program.socket
        packet = encode_event("large", "x" * (2 * MOST_AT_ONCE))
        socket.send(packet)
        socket.emit("y")
        assert 0 < socket.queued_bytes < len(packet.frames)
        world.clock.advance(0)
        world.clock.advance(0)
        assert socket.queued_bytes == 0
        assert client.texts() == [packet.text.decode(), '42["y"]']

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
        """When there is no room for what waits for all, the owner of most of it loses its largest client."""
        dropped: list[str] = []
        memory = Budget(1000, share=900)
        world = World(memory=memory, session_bytes=0, dropped=dropped.append)
        clients = [world.websocket() for _ in range(3)]
        for socket, owner in zip(world.program.sockets, ("ann", "ann", "bob"), strict=True):
            assert socket.pay_as(owner)

        def send(number: int, size: int) -> None:
            clients[number].transport.full = True
            world.program.sockets[number].send(EncodedPacket(b"4" + b"x" * (size - 5)))

        for number, waiting in enumerate((400, 300, 200)):
            send(number, waiting)
        assert (memory.used_by("ann"), memory.used_by("bob"), dropped) == (700, 200, [])
        send(2, 200)
        assert dropped == ["crowd"]
        assert [client.transport.aborted for client in clients] == [True, False, False]
        assert world.last == ("disconnected", "/", "transport error")
        clients[1].transport.drain()
        clients[2].transport.lost(ConnectionDone())
        assert memory.used == 0

    def test_more_than_a_share(self) -> None:
        """What waits for one owner's clients is never more than its share: who goes beyond it is cut off."""
        dropped: list[str] = []
        memory = Budget(1000)
        world = World(memory=memory, session_bytes=0, dropped=dropped.append)
        client = world.websocket()
        client.transport.full = True
        world.program.socket.send(EncodedPacket(b"4" + b"x" * 400))
        assert not client.transport.aborted
        world.program.socket.send(EncodedPacket(b"4" + b"x" * 100))
        assert client.transport.aborted
        assert dropped == ["crowd"]
        assert memory.used == 0

    def test_slow_and_steady(self) -> None:
        """A client that takes a little now and then is never too slow, however much waits for it."""
        world = World(slow_reader_seconds=60.0)
        client = world.websocket()
        client.transport.full = True
        for _ in range(100):
            world.program.socket.emit("x" * 100)
        for _ in range(20):
            world.clock.advance(40)
            client.transport.unsent -= 1
            client.text("3")
        assert not client.transport.aborted
        world.clock.pump([15] * 4)
        assert not client.transport.aborted
        client.text("3")
        world.clock.pump([15] * 1)
        assert client.transport.aborted

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

    def test_too_much_for_a_poll(self) -> None:
        """What waits for the next poll counts as its owner's, and is never more than its share."""
        dropped: list[str] = []
        memory = Budget(20_000)
        world = World(memory=memory, session_bytes=0, dropped=dropped.append)
        client = world.polling()
        for _ in range(2):
            world.program.socket.send(EncodedPacket(b"4" + b"x" * 4_000))
        assert memory.used >= 8_000
        assert len(client.poll().packets) == 2
        assert memory.used == 0
        for _ in range(3):
            assert dropped == []
            world.program.socket.send(EncodedPacket(b"4" + b"x" * 4_000))
        assert dropped == ["crowd"]


class TurningWorld(World):
    clock_kind = TurningClock


def test_many_ends() -> None:
    """Sockets that the program closes all at once end as there is time for it, a few in each turn."""
    world = TurningWorld()
    clients = [world.websocket() for _ in range(4)]
    ended: list[Socket] = []

    def disconnected(socket: Socket, reason: str) -> None:
        world.clock.rightNow += QUEUE_SECONDS
        ended.append(socket)

    world.program.disconnected = disconnected  # type: ignore[method-assign]
    for socket in world.program.sockets:
        socket.close()
        socket.emit("x")
    for count in range(4):
        assert ended == world.program.sockets[:count]
        world.clock.advance(0)
    assert ended == world.program.sockets
    assert not any(isinstance(event, Message) for client in clients for event in client.receive())
