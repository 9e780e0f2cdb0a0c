"""The event loop and its promises."""

from __future__ import annotations

import socket

import pytest

from happy.bench.loop import Loop, Promise, gather, now, start
from happy.bench.pace import Pace


@pytest.fixture
def loop() -> Loop:
    """A loop of the test's own."""
    return Loop()


class Reader:
    """Keeps a promise with what a socket receives."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self.received: Promise[bytes] = Promise()

    def readable(self) -> None:
        self.received.keep(self._source.recv(100))

    def writable(self) -> None:
        raise AssertionError("nobody asked")


def test_sockets_and_timers(loop: Loop) -> None:
    """A coroutine sleeps, and goes on with what a socket receives."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = Reader(ours)
        loop.watch(ours.fileno(), reader)

        async def main() -> bytes:
            await loop.sleep(0.001)
            theirs.send(b"hello")
            return await reader.received

        assert loop.run(main()) == b"hello"
    loop.close()


def test_patience(loop: Loop) -> None:
    """Whoever waits within a time hears when it is over, and an answer that comes in time."""
    never: Promise[int] = Promise()
    with pytest.raises(TimeoutError, match="within 0.001 s"):
        loop.run(loop.within(0.001, never))
    kept: Promise[int] = Promise()
    kept.keep(3)
    assert loop.run(loop.within(60, kept)) == 3


def test_cancelled_timers(loop: Loop) -> None:
    """A cancelled call is not made."""
    made: list[str] = []
    loop.later(0, lambda: made.append("cancelled")).cancelled = True
    loop.later(0, lambda: made.append("kept"))
    loop.run(loop.sleep(0.002))
    assert made == ["kept"]


def test_gather_bounds() -> None:
    """No more than so many coroutines run at a time; results come in the order of the coroutines."""
    promises: list[Promise[int]] = [Promise() for _ in range(5)]
    running: list[int] = []

    async def one(number: int) -> int:
        running.append(number)
        return await promises[number]

    result = start(gather((one(number) for number in range(5)), 2))
    assert running == [0, 1]
    promises[1].keep(10)
    assert running == [0, 1, 2]
    for promise in promises:
        promise.keep(0)
    assert result.result() == [0, 10, 0, 0, 0]


def test_gather_fails() -> None:
    """What one coroutine raises reaches whoever waits for all."""

    async def broken() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        start(gather([broken()], 3)).result()


def test_spawned_failures_end_the_loop(loop: Loop) -> None:
    """A coroutine that nobody awaits does not fail in silence."""

    async def broken() -> None:
        await loop.sleep(0)
        raise ValueError("broken")

    loop.spawn(broken())
    with pytest.raises(ValueError, match="broken"):
        loop.run(loop.sleep(60))


def test_pace(loop: Loop) -> None:
    """Arrivals are as many as the rate says, each told when it was due, however late the loop is."""
    begin = now() - 1
    due: list[float] = []
    Pace(loop, 100, due.append).begin(begin, begin + 0.5)
    loop.run(loop.sleep(0))
    assert due == [begin + number / 100 for number in range(50)]


def test_ended_pace(loop: Loop) -> None:
    """After its end there are no more arrivals, due or not."""
    due: list[float] = []
    pace = Pace(loop, 1e6, due.append)
    pace.begin(now(), now() + 60)
    loop.run(loop.sleep(0))
    pace.end()
    arrived = len(due)
    loop.run(loop.sleep(0.005))
    assert len(due) == arrived > 0
