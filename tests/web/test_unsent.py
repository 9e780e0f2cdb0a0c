"""What clients leave of their answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import tcp
from twisted.internet.task import Clock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from happy.base.bounds import Budget
from happy.base.untaken import unsent
from happy.web import unsent as module
from happy.web.unsent import LOOK_SECONDS, STALL_SECONDS, Unsent
from tests.web.talking import Wire


class Watched:
    """A watch over connections, and what it says of them."""

    def __init__(self, size: int = 10_000, share: int | None = None) -> None:
        self.clock = Clock()
        self.memory = Budget(size, share=share or size)
        self.cut: list[str] = []
        self.unsent = Unsent(self.clock, self.memory, self.cut.append)

    def left(self, size: int, payer: str = "account:ann") -> Wire:
        """A connection on which so many bytes are left."""
        wire = Wire()
        wire.write(bytes(size))
        self.unsent.wrote(wire, payer)
        return wire

    def look(self, seconds: float = LOOK_SECONDS) -> None:
        """So much time passes."""
        self.clock.pump([LOOK_SECONDS] * round(seconds / LOOK_SECONDS))


def test_counted() -> None:
    """What is left is its owner's, as long as it is there; then nothing is looked at any more."""
    watched = Watched()
    wire, _ = watched.left(1000), watched.left(10, "address:192.0.2.1")
    watched.look()
    assert watched.memory.used_by("account:ann") == 1000
    assert watched.memory.used_by("address:192.0.2.1") == 10
    wire.write(bytes(500))
    watched.unsent.wrote(wire, "account:ann")
    watched.look()
    assert watched.memory.used_by("account:ann") == 1500
    wire.take()
    wire.write(bytes(7))
    watched.look()
    assert watched.memory.used_by("account:ann") == 7
    wire.take()
    _.take()
    watched.look(2)
    assert watched.memory.used == 0
    assert watched.clock.getDelayedCalls() == []


def test_usually_nothing() -> None:
    """A connection that has taken everything costs one look."""
    watched = Watched()
    watched.left(0)
    watched.look()
    assert watched.clock.getDelayedCalls() == []


def test_lost() -> None:
    """A connection that is lost has nothing left."""
    watched = Watched()
    wire = watched.left(1000)
    watched.look()
    wire.disconnected = True
    watched.look()
    assert (watched.memory.used, watched.cut, wire.aborted) == (0, [], False)


def test_stalled() -> None:
    """A connection is cut when nothing is taken for a minute, and not as long as something is."""
    watched = Watched()
    slow, stuck = watched.left(1000), watched.left(1000)
    for _ in range(3):
        watched.look(STALL_SECONDS / 2)
        data = slow.take()
        slow.write(data[1:])
    assert (watched.cut, stuck.aborted, slow.aborted) == (["time"], True, False)
    assert watched.memory.used == 998
    watched.clock.advance(10 * STALL_SECONDS)
    assert watched.cut == ["time"]  # The process stood still, and not the client.
    watched.look(STALL_SECONDS + 1)
    assert (watched.cut, slow.aborted) == (["time", "time"], True)
    assert watched.memory.used == 0


def test_share() -> None:
    """A connection whose owner has too much is cut."""
    watched = Watched(share=1500)
    wires = [watched.left(1000), watched.left(1000)]
    watched.look()
    assert watched.cut == ["crowd"]
    assert sorted(wire.aborted for wire in wires) == [False, True]
    assert watched.memory.used == 1000


def test_crowd() -> None:
    """When somebody else needs the room, the largest owner's connection goes."""
    watched = Watched(10_000, share=9_000)
    wire = watched.left(9_000)
    watched.look()
    holding = watched.memory.open("account:bob", wire)  # type: ignore[arg-type]
    assert holding.take(2_000)
    assert wire.aborted
    assert watched.memory.used == 2_000
    wire.disconnected = True
    watched.look()
    assert watched.clock.getDelayedCalls() == []


def test_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many connections are looked at some at a time."""
    monkeypatch.setattr(module, "AT_ONCE", 10)
    watched = Watched()
    for _ in range(35):
        watched.left(1)
    watched.unsent._look()
    assert watched.memory.used == 10
    watched.clock.advance(0)
    assert watched.memory.used == 35


def test_stopped() -> None:
    """After the end nothing is looked at, and nothing kept."""
    watched = Watched()
    watched.left(1000)
    watched.unsent.stop()
    watched.left(1000)
    watched.unsent.stop()
    assert watched.clock.getDelayedCalls() == []


class Connected:
    """A connection of Twisted's on a real socket, and its other side."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX)
        near.setblocking(False)
        self.transport: Any = tcp.Connection.__new__(tcp.Connection)
        reactor: Any = Reactor()
        tcp.Connection.__init__(self.transport, near, None, reactor)
        self.transport.connected = 1

    def close(self) -> None:
        self.transport.socket.close()
        self.far.close()


class Reactor:
    """Lets a connection believe that it is watched."""

    def addWriter(self, writer: Any) -> None:
        pass

    removeWriter = addWriter


@pytest.fixture
def connected() -> Iterator[Connected]:
    pair = Connected()
    yield pair
    pair.close()


def test_twisted(connected: Connected) -> None:
    """What Twisted keeps of what was written is found where it is, below TLS as well."""
    transport = connected.transport
    assert unsent(transport) == 0
    transport.write(b"x" * 3_000_000)
    transport.write(b"y" * 1_000)
    assert unsent(transport) == 3_001_000
    transport.doWrite()
    assert 0 < unsent(transport) < 3_001_000
    wrapped: Any = ProtocolWrapper(WrappingFactory(None), None)  # type: ignore[type-var]
    wrapped.transport = transport
    assert unsent(wrapped) == unsent(transport)
