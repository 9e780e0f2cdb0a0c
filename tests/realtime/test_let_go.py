"""Clients that come back at another node: what the one where they were has for it."""

from __future__ import annotations

import json

import pytest

from happy.realtime.client import Client
from happy.realtime.recovery import Left, Lost, Recovery
from tests.realtime.test_recovery import RecoveringWorld, Visit, entered
from tests.socketio.peers import WebSocketPeer


class LeavingWorld(RecoveringWorld):
    """One client of ann's that has heard an update and missed another."""

    def __init__(self) -> None:
        super().__init__()
        self.peer: WebSocketPeer
        self.peer, self.visit = entered(self)
        (self.client,) = self.server.hub.everybody("ann")
        self.missed = self.tell()

    @property
    def recovery(self) -> Recovery:
        """What is remembered of clients."""
        assert self.server.hub.recovery is not None
        return self.server.hub.recovery

    def left(self, offset: str | None = None, client: Client | None = None) -> Left | None:
        """What the client continues, or one that says it is the same."""
        assert self.visit.pid is not None
        assert self.visit.offset is not None
        identity = (client or self.client).identity
        return self.recovery.let_go(identity, self.visit.pid, offset or self.visit.offset)

    def known(self) -> bool:
        """Whether it may still come back here."""
        return self.recovery.knows(str(self.visit.pid))


@pytest.fixture
def world() -> LeavingWorld:
    return LeavingWorld()


def numbers(left: Left) -> list[int]:
    """The updates that were missed."""
    return [json.loads(packet.text[2:])[1]["seq"] for packet in left.missed]


def test_connected(world: LeavingWorld) -> None:
    """One whose connection is there takes along what it missed, and comes back here no more."""
    left = world.left()
    assert left is not None
    assert (left.former, numbers(left)) == (world.client, [world.missed])
    assert len(left.heard) == 1
    assert not world.known()
    assert world.left() is None


def test_lost(world: LeavingWorld) -> None:
    """So does one that is lost; of an account without others nothing is left then."""
    world.lose(world.peer)
    left = world.left()
    assert left is not None
    assert isinstance(left.former, Lost)
    assert (left.former.id, numbers(left)) == (world.visit.sid, [world.missed])
    assert not world.known()
    assert (world.recovery.replay.size, world.recovery._room.used) == (0, 0)


@pytest.mark.parametrize("lost", [True, False])
def test_unknown_place(world: LeavingWorld, lost: bool) -> None:
    """One that says nothing of use begins anew: a lost one is forgotten, a connected one is left alone."""
    if lost:
        world.lose(world.peer)
    assert world.left("nothing of use") is None
    assert world.known() is not lost
    if not lost:
        new = world.tell()
        assert Visit(world.peer).after == [world.missed, new]


def test_somebody_else(world: LeavingWorld) -> None:
    """Who has the id and is somebody else gets nothing, and changes nothing."""
    world.enter(clientType="session-scoped", sessionId="s")
    other = next(one for one in world.server.hub.everybody("ann") if one is not world.client)
    assert world.left(client=other) is None
    assert world.known()
