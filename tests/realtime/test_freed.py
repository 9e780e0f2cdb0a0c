"""What is left of a client that is gone: nothing, without the garbage collector, which hardly ever runs."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from happy.base.bounds import Budget, Holding
from happy.realtime.client import Client
from happy.realtime.parameters import PATH
from happy.socketio.backlog import Backlog
from happy.socketio.connection import SocketConnection
from happy.socketio.engine import EngineConnection
from happy.socketio.polling import LargeAnswer
from happy.socketio.reading import ReadingWebSocket
from happy.socketio.socket import EncodedPacket, Socket
from happy.wire.engine_session import EngineSession
from happy.wire.socketio import Namespaces
from tests.realtime.happy_world import MACHINE, TOKEN, HappyWorld
from tests.socketio.peers import PollingPeer, WebSocketPeer

pytestmark = pytest.mark.usefixtures("young_heap")

KINDS = (
    *(EngineConnection, EngineSession, SocketConnection, Namespaces, Socket, Client, ReadingWebSocket),
    *(Backlog, LargeAnswer, Holding),
)
JOIN = b"40" + json.dumps({"token": TOKEN}).encode()


def alive() -> Counter[str]:
    """How many objects of each kind there are."""
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))


@pytest.fixture
def world() -> Iterator[HappyWorld]:
    """One that was used already, with a client that stays; the collector is off."""
    world = HappyWorld(memory=Budget(100_000_000))
    world.lose(world.client())
    staying = world.client()
    gc.collect()
    gc.disable()
    yield world
    gc.enable()
    world.lose(staying)


def polling(world: HappyWorld) -> PollingPeer:
    """A client of ann's on polling."""
    peer = PollingPeer(world.site, world.clock, PATH)
    peer.post(JOIN)
    peer.poll()
    return peer


def full(world: HappyWorld) -> WebSocketPeer:
    """A client that does not read what it is sent."""
    peer = world.client()
    peer.transport.full = True
    peer.text(*['421["ping"]'] * 3)
    return peer


def leaves(world: HappyWorld) -> None:
    """A client closes in due form."""
    world.leave(world.client(**MACHINE))


def breaks_off(world: HappyWorld) -> None:
    """The network takes a client."""
    world.lose(world.client(**MACHINE))


def leaves_the_namespace(world: HappyWorld) -> None:
    """A client leaves, joins again as somebody else, and is gone."""
    peer = world.client()
    peer.text("41", '40{"token":"a.token.of-bob"}')
    world.lose(peer)


def refused(world: HappyWorld) -> None:
    """A client never got in."""
    world.lose(world.asking({"token": "wrong"}))


def never_joins(world: HappyWorld) -> None:
    """A client says nothing."""
    peer = world.websocket(joined=False)
    world.clock.advance(world.settings.connect_timeout)
    assert peer.closing() == 1005
    world.lose(peer)


def breaks_the_protocol(world: HappyWorld) -> None:
    """A client sends what is no frame, and does not care for the answer."""
    peer = world.client()
    peer.send(b"\xff\xff")
    world.clock.advance(world.settings.close_timeout)
    assert peer.closed


def with_output(world: HappyWorld) -> None:
    """A client is gone before it has read everything."""
    world.lose(full(world))


def too_slow(world: HappyWorld) -> None:
    """A client is cut off because it does not read."""
    peer = full(world)
    world.clock.pump([15] * 4)
    assert peer.closed


def with_part_of_a_frame(world: HappyWorld) -> None:
    """A frame ends in the middle."""
    for first in (b"\x81\xfe\xff\x00", b"\x01\xff" + (100_000).to_bytes(8, "big")):
        peer = world.client()
        peer.send(first + bytes(4) + b"x" * 5000)
        world.lose(peer)


def with_half_an_event(world: HappyWorld) -> None:
    """Attachments are missing."""
    peer = world.client()
    peer.send_event(TextMessage('452-["x"]'), BytesMessage(b"x" * 1000))
    world.lose(peer)


def with_calls(world: HappyWorld) -> None:
    """Nobody answered a call, and nobody waited for the answer to another."""
    caller, target = world.client(), world.client()
    target.text('42["rpc-register",{"method":"m"}]')
    caller.text('421["rpc-call",{"method":"m"}]', '422["rpc-call",{"method":"nobody\'s"}]')
    target.text('421["rpc-call",{"method":"nobody\'s"}]')
    world.lose(target)
    world.lose(caller)


def during_the_upgrade(world: HappyWorld) -> None:
    """A client is gone with both of its transports."""
    for said in ([], ["2probe"], ["2probe", "5"]):
        peer = polling(world)
        websocket = peer.websocket()
        websocket.text(*said)
        websocket.drop()
        if "5" not in said:
            peer.post(b"1")
        world.clock.advance(1)


def on_polling(world: HappyWorld) -> None:
    """A client closes, or is closed, or just stays away."""
    polling(world).post(b"1")
    polling(world).post(b"nonsense")
    polling(world).start_poll().drop()
    polling(world)
    world.clock.pump([15] * 10)


def with_a_large_answer(world: HappyWorld) -> None:
    """A client asks for much and is gone."""
    peer = polling(world)
    connection = world.endpoint._connections[peer.sid]
    connection.send(EncodedPacket(b"4" + b"x" * 200_000))
    poll = peer.start_poll()
    poll.transport.full = True
    connection.send(EncodedPacket(b"4" + b"x" * 200_000))
    again = peer.start_poll()
    again.drop()
    poll.drop()
    peer.post(b"1")
    world.clock.advance(1)


def crowded_out(world: HappyWorld) -> None:
    """Somebody else needs the room."""
    peer, on_polling = full(world), polling(world)
    for connection in world.endpoint._connections.values():
        if connection.queued_bytes or connection.transport == "polling":
            connection.holding.lose()
    world.clock.advance(0)
    assert peer.closed
    assert on_polling.post(b"3").status == 400


def closed_by_the_server(world: HappyWorld) -> None:
    """A packet is out of place, on either transport."""
    peer = world.client()
    peer.text("40")
    assert peer.closing() == 1005
    peer.send_event(CloseConnection(1000))
    world.lose(peer)
    slow = full(world)
    slow.text("40")
    world.clock.advance(world.settings.close_timeout)
    assert slow.closed
    polling(world).post(b"40")
    world.clock.advance(world.settings.drain)


@pytest.mark.parametrize(
    "ends",
    [
        *(leaves, breaks_off, leaves_the_namespace, refused, never_joins, breaks_the_protocol, with_output),
        *(too_slow, with_part_of_a_frame, with_half_an_event, with_calls, during_the_upgrade, on_polling),
        *(with_a_large_answer, crowded_out, closed_by_the_server),
    ],
)
def test_nothing_is_left(world: HappyWorld, ends: Callable[[HappyWorld], None]) -> None:
    """When a client is gone its objects are freed, and nothing of it is counted any more."""
    memory = world.settings.memory
    assert memory is not None
    before, used = alive(), memory.used
    ends(world)
    world.clock.advance(0)
    assert alive() - before == Counter()
    assert memory.used == used


def test_nothing_is_left_of_a_dead_connection() -> None:
    """A client that came back is there once."""
    world = HappyWorld(recovery=True, memory=Budget(100_000_000))
    peer = world.client()
    world.lose(peer)
    del peer
    gc.collect()
    gc.disable()
    before = alive()
    for _ in range(3):
        peer = world.client()
        world.lose(peer)
    world.clock.advance(150)
    del peer
    assert alive() - before == Counter()
    gc.enable()


def test_a_call_under_way(world: HappyWorld) -> None:
    """What a call carries is not kept until it is answered: its target has it."""
    target, caller = world.client(), world.client()
    target.text('42["rpc-register",{"method":"m"}]')
    target.texts()
    carried = []
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20):
        params = chr(ord("a") + number) * 200_000
        caller.text(f'42{number}["rpc-call",{{"method":"m","params":"{params}"}}]')
        carried.append(len(target.texts()[0]))
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert sum(carried) > 4_000_000
    assert kept < 1.5 * sum(carried)  # The target's end, which is the test's, has it all once.
