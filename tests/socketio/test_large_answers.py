"""Polls that are answered with much, by clients that read it slowly, or not at all."""

from __future__ import annotations

from happy.base.bounds import Budget
from happy.socketio.polling import AT_ONCE
from tests.socketio.peers import Peer, PollingPeer, Response
from tests.socketio.programs import World

SIZE = 10 * AT_ONCE


def owed(world: World, size: int = SIZE) -> tuple[PollingPeer, bytes]:
    """A client for which much waits, and what that is."""
    client = world.polling()
    world.program.socket.emit("x", "y" * size)
    return client, b'42["x","%b"]' % (b"y" * size)


def slow(world: World, client: PollingPeer) -> Peer:
    """A GET of a client that takes nothing at first."""
    peer = Peer(world.site, world.clock)
    peer.transport.full = True
    peer.request("GET", client.target)
    return peer


def test_read_at_once() -> None:
    """A client that reads gets all of it, and nothing counts any more."""
    memory = Budget(10 * SIZE)
    world = World(memory=memory, session_bytes=0)
    client, text = owed(world)
    assert client.poll().packets == [text]
    assert memory.used == 0
    assert client.post(b"3").status == 200


def test_read_slowly() -> None:
    """What a client has not taken counts as its owner's; it may be slow, as long as it takes something."""
    memory = Budget(10 * SIZE)
    world = World(memory=memory, session_bytes=0, slow_reader_seconds=60.0)
    client, text = owed(world)
    waiting = memory.used
    peer = slow(world, client)
    assert SIZE - AT_ONCE < memory.used <= waiting + 2000
    for _ in range(5):
        world.clock.advance(40)
        client.post(b"3")
        peer.transport.unsent -= 1000
    assert peer.transport.connected
    peer.transport.drain()
    assert Response(peer.take()).packets == [text]
    peer.request("GET", client.target)
    assert Response(peer.take()).packets == [b"2"] * 5
    assert memory.used == 0


def test_not_read() -> None:
    """A client that takes nothing for a minute is cut off, and nothing is kept."""
    memory = Budget(10 * SIZE)
    world = World(memory=memory, session_bytes=0, slow_reader_seconds=60.0)
    client, _ = owed(world)
    peer = slow(world, client)
    for _ in range(5):
        assert not peer.transport.aborted
        world.clock.advance(15)
        client.post(b"3")
    assert peer.transport.aborted
    client.poll()
    assert memory.used == 0


def test_gone() -> None:
    """Nothing is kept for a client that is gone in the middle."""
    memory = Budget(10 * SIZE)
    world = World(memory=memory, session_bytes=0)
    client, _ = owed(world)
    peer = slow(world, client)
    assert memory.used > 0
    peer.drop()
    assert memory.used == 0
    assert not [call for call in world.clock.getDelayedCalls() if "Backlog" in str(call)]


def test_no_room() -> None:
    """A client for which there is no more room is dropped; what is under way to it goes on."""
    dropped: list[str] = []
    memory = Budget(5 * SIZE)
    world = World(memory=memory, session_bytes=0, dropped=dropped.append)
    client, text = owed(world)
    first = slow(world, client)
    world.program.socket.emit("x", "y" * SIZE)
    second = slow(world, client)
    assert dropped == []
    world.program.socket.emit("x", "y" * SIZE)
    assert dropped == ["crowd"]
    assert world.last == ("disconnected", "/", "transport error")
    for peer in (first, second):
        peer.transport.drain()
        assert Response(peer.take()).packets == [text]
    assert memory.used == 0


class Other:
    """Somebody else, who holds something."""

    def give_up(self) -> None:
        """Never asked to."""


def test_crowded_out() -> None:
    """When somebody else needs the room, the connection of the largest answer is cut."""
    memory = Budget(3 * SIZE, share=3 * SIZE)
    world = World(memory=memory, session_bytes=0)
    client, _ = owed(world, 2 * SIZE)
    peer = slow(world, client)
    assert memory.open("other", Other()).take(SIZE)
    assert peer.transport.aborted
    world.clock.advance(0)
    assert memory.used == SIZE
    assert client.post(b"3").status == 200
