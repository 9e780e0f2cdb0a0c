"""Clients that send more than there is time or room for, on a clock that each message moves."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from wsproto.events import BytesMessage, Ping, TextMessage

from happy.base.bounds import Budget
from happy.base.pace import TURN_SECONDS
from happy.socketio.connection import ATTACHMENT_SECONDS
from tests.socketio.peers import Peer, PollingPeer, TurningClock, WebSocketPeer
from tests.socketio.programs import World

STEP = TURN_SECONDS / 4


class SlowWorld(World):
    """Every event takes a quarter of a turn."""

    clock_kind = TurningClock

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.program.react = self.take_time

    def take_time(self, *event: Any) -> None:
        self.clock.rightNow += STEP

    def names(self) -> list[str]:
        """The events so far."""
        return [name for what, name, *_ in self.program.heard if what == "event"]

    def finish(self) -> None:
        """Turns of the reactor, until nothing is left to do in the next one."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)


def events(count: int, start: int = 0) -> list[str]:
    return [f'42["{number}"]' for number in range(start, start + count)]


NUMBERS = [str(number) for number in range(40)]


@pytest.mark.parametrize("fast", [True, False])
class TestWebSocket:
    """Messages that arrive in one piece."""

    def test_many_messages(self, fast: bool) -> None:
        """They are taken as far as there is time, and the rest in order, in later turns."""
        world = SlowWorld(fast_frames=fast)
        client = world.websocket()
        client.text(*events(20))
        assert 0 < len(world.names()) < 10
        client.text(*events(20, 20))
        assert client.transport.producerState == "paused"
        world.finish()
        assert world.names() == NUMBERS
        assert client.transport.producerState == "producing"
        client.text('42["again"]')
        assert world.names()[-1] == "again"

    def test_others_come_in_between(self, fast: bool) -> None:
        """Nobody waits until a client is done that has sent much."""
        world = SlowWorld(fast_frames=fast)
        flooding, other = world.websocket(), world.websocket()
        assert world.program.socket.pay_as("somebody else")
        flooding.text(*events(40))
        other.text('42["other"]')
        world.clock.advance(0)
        assert world.names().index("other") < 15
        world.finish()
        assert [name for name in world.names() if name != "other"] == NUMBERS

    def test_gone_before_all_is_done(self, fast: bool) -> None:
        """What a client sent before it left is still heard, and its end after it."""
        world = SlowWorld(fast_frames=fast)
        client = world.websocket()
        client.text(*events(40))
        client.transport.lost(ConnectionDone())
        assert world.program.heard[-1][0] == "event"
        world.finish()
        assert world.names() == NUMBERS
        assert world.program.heard[-1] == ("disconnected", "/", "transport error")

    def test_dropped_before_all_is_done(self, fast: bool) -> None:
        """What a client sent that is cut off does not matter any more."""
        world = SlowWorld(fast_frames=fast)
        client = world.websocket()
        client.text(*events(20), "41", "40", "40", *events(20, 20))
        world.finish()
        assert world.names() == NUMBERS[:20]
        assert client.closing() == 1005

    def test_pings(self, fast: bool) -> None:
        """Each ping is answered, also behind messages that had to wait."""
        world = SlowWorld(fast_frames=fast)
        client = world.websocket()
        client.text(*events(10))
        client.send_event(*[Ping(b"?") for _ in range(30)])
        world.finish()
        assert len(client.receive()) == 30

    def test_counted(self, fast: bool) -> None:
        """What waits counts as its owner's, and one who sends too much of it is dropped."""
        memory = Budget(2000)
        world = SlowWorld(fast_frames=fast, memory=memory, session_bytes=0)
        client = world.websocket()
        client.text(*events(30))
        assert 0 < memory.used < 1000
        client.text(*['42["%s"]' % ("x" * 50)] * 20)
        assert client.transport.aborted
        assert memory.used == 0
        world.finish()
        assert memory.used == 0

    def test_fragments(self, fast: bool) -> None:
        """Parts of a message are kept as one, however small they are."""
        memory = Budget(100_000_000)
        world = World(fast_frames=fast, memory=memory)
        client = world.websocket()
        used = memory.used
        client.send(b"\x01\x82\0\0\0\0" + b"42" + (b"\x00\x82\0\0\0\0" + b"  ") * 5000)
        assert memory.used - used == 10_002
        websocket = client.transport.protocol
        assert [len(part) for part in websocket.message_data] == [10_002]
        client.send(b"\x80\x85\0\0\0\0" + b'["x"]')
        assert world.last == ("event", "x", [])
        assert memory.used == used


class TestPolling:
    """Packets of one body."""

    def post(self, world: World, client: PollingPeer, *packets: str) -> Peer:
        """A POST that need not be answered at once."""
        peer = Peer(world.site, world.clock)
        peer.request("POST", client.target, "\x1e".join(packets).encode())
        return peer

    def test_many_packets(self) -> None:
        """They are taken as far as there is time, the rest in order; the POST is answered at the end."""
        world = SlowWorld()
        client = world.polling()
        post = self.post(world, client, *events(40))
        assert 0 < len(world.names()) < 10
        assert post.response() is None
        world.program.socket.emit("meanwhile")
        assert client.poll().packets == [b'42["meanwhile"]']
        world.finish()
        response = post.response()
        assert response is not None
        assert response.body == b"ok"
        assert world.names() == NUMBERS
        assert client.post(b'42["again"]').status == 200

    @pytest.mark.parametrize("last", ["1", "2", "nonsense", "42"])
    def test_end_within(self, last: str) -> None:
        """What follows the packet that ends a session is not looked at; the POST is answered nevertheless."""
        world = SlowWorld()
        client = world.polling()
        post = self.post(
            world, client, *events(20), last if last != "42" else '42["connect"]', *events(20, 20)
        )
        world.finish()
        response = post.response()
        assert response is not None
        assert response.status == 200
        assert world.names() == NUMBERS[:20]

    def test_end_meanwhile(self) -> None:
        """A session that ends for another reason looks at nothing more, and answers the POST."""
        world = SlowWorld()
        client = world.polling()
        post = self.post(world, client, *events(40))
        world.program.socket.close()
        world.finish()
        assert len(world.names()) < 10
        assert post.response() is not None

    def test_next_post(self) -> None:
        """A second POST while the first is worked on is one too many, as ever."""
        world = SlowWorld()
        client = world.polling()
        post = self.post(world, client, *events(40))
        assert client.post(b'42["x"]').status == 400
        assert post.transport.aborted
        assert world.program.heard[-1] == ("disconnected", "/", "transport error")

    def test_client_gone(self) -> None:
        """A client that does not wait for the answer has still sent everything."""
        world = SlowWorld()
        client = world.polling()
        self.post(world, client, *events(40)).drop()
        world.finish()
        assert world.names() == NUMBERS
        assert client.post(b"3").status == 200

    def test_upgrade_has_to_wait(self) -> None:
        """A client that switches before its POST is answered stays on polling: nothing may be overtaken."""
        world = SlowWorld()
        client = world.polling()
        websocket: WebSocketPeer = client.websocket()
        websocket.text("2probe")
        self.post(world, client, *events(40))
        websocket.text("5", '42["overtaking"]')
        world.finish()
        assert world.names() == NUMBERS
        assert client.post(b'42["after"]').status == 200
        assert world.names()[-1] == "after"

    def test_counted(self) -> None:
        """A body counts as its owner's until it is worked through; without room for it the session ends."""
        memory = Budget(3000)
        world = SlowWorld(memory=memory, session_bytes=0)
        client = world.polling()
        post = self.post(world, client, *events(40))
        assert memory.used > 300
        world.finish()
        assert post.response() is not None
        assert memory.used == 0
        post = self.post(world, client, *['42["%s"]' % ("x" * 50)] * 40)
        world.finish()
        assert post.response() is not None
        assert world.program.heard[-1] == ("disconnected", "/", "transport error")
        assert memory.used == 0


def test_attachments_in_time() -> None:
    """A packet whose attachments came is not waited for any more."""
    world = World()
    client = world.websocket()
    client.send_event(TextMessage('451-["x",{"_placeholder":true,"num":0}]'))
    world.clock.advance(ATTACHMENT_SECONDS / 2)
    client.text("3")
    client.send_event(BytesMessage(b"\0"))
    world.clock.advance(ATTACHMENT_SECONDS / 2)
    client.text('42["y"]')
    assert world.last == ("event", "y", [])
