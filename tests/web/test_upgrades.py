"""Connections that become WebSockets: what the site still knows of them, and what it forgets."""

from __future__ import annotations

import weakref
from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request, TextMessage

from happy.settings.config import Config
from happy.web.site import HappySite
from tests.socketio.peers import Peer, WebSocketPeer
from tests.socketio.programs import PATH, World
from tests.toys import toy_server
from tests.web.talking import Served

TARGET = f"{PATH}?EIO=4&transport=websocket"


class Upgrading(World):
    """A realtime endpoint behind a site of ours with four places."""

    def __init__(self, *, fast: bool = True, config: Config | None = None) -> None:
        super().__init__()
        self.served = Served(toy_server(config, clock=self.clock), [], self.endpoint, fast=fast)
        self.site = HappySite(self.served.router, self.endpoint, self.clock, room=4, fast_requests=fast)

    @property
    def memory(self) -> int:
        return self.served.server.memory.used


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("step", [None, 1, 50])
def test_place(fast: bool, step: int | None) -> None:
    """A WebSocket keeps its place until it is gone, and nothing else of what its connection had."""
    world = Upgrading(fast=fast)
    peer = world.websocket(step=step)
    assert (len(world.site.places), world.memory) == (1, 0)
    world.clock.advance(1)  # What it took of the processor's time is remembered for as long.
    assert world.site.processor._shares == {}
    peer.drop()
    assert len(world.site.places) == 0


@pytest.mark.parametrize("fast", [True, False])
def test_channel(fast: bool) -> None:
    """The connection of HTTP is freed at once."""
    world = Upgrading(fast=fast)
    peer = Peer(world.site, world.clock)
    channel = weakref.ref(peer.transport.protocol)
    peer.send(WSConnection(ConnectionType.CLIENT).send(Request(host="h", target=TARGET)))
    assert channel() is None


@pytest.mark.parametrize("fast", [True, False])
def test_early_frames(fast: bool) -> None:
    """What comes behind the request in the same bytes is the WebSocket's."""
    world = Upgrading(fast=fast)
    peer = WebSocketPeer(world.site, world.clock, TARGET)
    client = WSConnection(ConnectionType.CLIENT)
    opening = client.send(Request(host="h", target=TARGET))
    early = Peer(world.site, world.clock)
    frame = peer._engine.send(TextMessage("40"))
    early.send(opening + frame)
    assert world.last == ("joined", "/")


def test_crowd() -> None:
    """Where all places are taken, whoever has most loses a WebSocket as well as any other connection."""
    world = Upgrading()
    mine = [world.websocket() for _ in range(2)]
    others = [IPv4Address("TCP", f"198.51.100.{number}", 1) for number in range(3)]
    kinds = [type(world.site.buildProtocol(other)) for other in others]
    assert kinds == [world.site.protocol] * 3
    assert [peer.closed for peer in mine] == [True, False]


def test_proxied() -> None:
    """A WebSocket that a trusted proxy passes on takes its client's place."""
    world = Upgrading(config=Config(trusted_proxies=(ip_network("127.0.0.1"),)))
    for number in range(3):
        headers = [(b"X-Forwarded-For", b"198.51.100.7" if number < 2 else b"198.51.100.8")]
        WebSocketPeer(world.site, world.clock, TARGET, extra_headers=headers)
    budget = world.site.places._budget
    assert [budget.used_by(f"address:198.51.100.{last}") for last in (7, 8)] == [2, 1]
