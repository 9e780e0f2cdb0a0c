"""When a client counts as one that takes nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from happy.base import untaken as system
from happy.base.bounds import Budget
from happy.base.untaken import untaken
from happy.socketio.backlog import FRAME_BYTES, LOOKS, Backlog

SECONDS = 60.0


class Stuck:
    """A backlog whose transport has always as much; on a connection that the system has filled, if any."""

    def __init__(self, near: socket.socket | None = None) -> None:
        self.clock = Clock()
        self.stalled: list[float] = []
        self.transport = transport = SimpleNamespace(dataBuffer=bytes(1000))
        if near is not None:
            transport.fileno = near.fileno
        self.budget = Budget(2**20)
        holding = self.budget.open("somebody", self)
        self.backlog = Backlog(
            transport, holding, self.clock, SECONDS, lambda: self.stalled.append(self.clock.seconds())
        )
        assert self.backlog.stick()

    def give_up(self) -> None:
        """There is room for it."""

    def look(self) -> None:
        self.clock.advance(SECONDS / LOOKS)


@pytest.fixture
def full() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection whose first end takes no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname(), timeout=0.2)
        near, _ = server.accept()
    with far, near:
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                near.send(bytes(1_000_000))
        if system.ioctl is None or not untaken(near):
            pytest.skip("the system does not tell")
        yield near, far


def test_full_once_more() -> None:
    """What the transport has counts once, however often it says that it is full."""
    stuck = Stuck()
    for more in (500, 0):
        stuck.transport.dataBuffer += bytes(more)
        assert stuck.backlog.stick()
        assert (stuck.backlog.size, stuck.budget.used) == (1500, 1500)


def test_what_the_system_has(full: tuple[socket.socket, socket.socket]) -> None:
    """A client that takes what the system has is not stalled, though the system takes nothing from us."""
    near, far = full
    stuck = Stuck(near)
    for _ in range(2 * LOOKS):
        before, end = untaken(near), time.monotonic() + 60
        while untaken(near) == before and time.monotonic() < end:
            # The system may have nothing for it until it tries again to send.
            with suppress(TimeoutError):
                far.recv(50_000)
        assert untaken(near) < before
        stuck.look()
    assert stuck.stalled == []
    for _ in range(LOOKS):
        stuck.look()
    assert len(stuck.stalled) == 1


def test_standing_still() -> None:
    """Time in which the process stands still does not count: the client had no chance to take anything."""
    stuck = Stuck()
    stuck.clock.advance(100 * SECONDS)
    assert stuck.stalled == []
    for _ in range(LOOKS):
        stuck.look()
    assert len(stuck.stalled) == 1


def test_what_is_kept_counts() -> None:
    """What waits counts with what it costs to keep, and what the transport has as it becomes less."""
    stuck = Stuck()
    assert stuck.backlog.put(bytes(100))
    assert stuck.budget.used == stuck.backlog.size == 1100 + FRAME_BYTES
    stuck.transport.dataBuffer = bytes(400)
    stuck.look()
    assert stuck.budget.used == stuck.backlog.size == 500 + FRAME_BYTES
    assert stuck.backlog.take() == bytes(100)
    assert stuck.budget.used == stuck.backlog.size == 400
    stuck.backlog.unstick()
    assert stuck.budget.used == stuck.backlog.size == 0


def test_what_a_transport_takes() -> None:
    """A client that takes now and then a little of what the transport has is not stalled."""
    stuck = Stuck()
    for _ in range(3):
        for _ in range(LOOKS - 1):
            stuck.look()
        stuck.transport.dataBuffer = stuck.transport.dataBuffer[1:]
        stuck.look()
    assert stuck.stalled == []


def test_full_again() -> None:
    """Nothing more is written to a transport that is full again."""
    backlog = Stuck().backlog
    assert backlog.paused
    backlog.unstick()
    assert not backlog.paused
    assert backlog.stick()
    assert backlog.paused


def test_emptied_between_looks() -> None:
    """A client that took everything is not stalled, though as much waits again when it is looked at."""
    stuck = Stuck()
    for _ in range(2 * LOOKS):
        stuck.backlog.unstick()
        assert stuck.backlog.stick()
        stuck.look()
    assert stuck.stalled == []
