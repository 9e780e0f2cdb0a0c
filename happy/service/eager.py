"""Connections that write when the reactor's turn ends, without asking first whether there is room.

Twisted buffers what is written and sends it when epoll reports room: two more system calls and a turn of
the reactor for each packet of a fan-out. An :class:`Eager` connection with nothing queued sends at the end of
the turn (:mod:`happy.service.turns`), and falls back to Twisted's way for whatever the system does not take.
Connections that are cut end when it is their owner's turn: to throw megabytes away takes a system its time.
``tests/test_private_names.py`` has what is used of Twisted although it is its own alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet import tcp
from twisted.internet.error import ConnectionAborted
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from happy.base.untaken import untaken
from happy.service.ready_events import owner_of

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from happy.base.pace import Pace
    from happy.service.turns import Turns


MOST_ACCEPTS: Final = 16
"""Connections that a port accepts at a time."""

LARGE_END: Final = 64 * 1024
"""Bytes that the system has not sent, from which on it takes its time to throw them away."""

MOST_ENDING: Final = 128
"""Connections that wait until they may end: they count no more, but are open still, and have half of the
files that are kept free."""

ACCEPT_SECONDS: Final = 0.008
"""For so long a port accepts connections in a turn. Those that wait do so in one line for all clients: it
must be short even while somebody opens connections as fast as the system lets them."""


class Eager(tcp.Connection):
    """A TCP connection that sends what is written to it as soon as the turn ends.

    What is held back never exceeds ``bufferSize``, from which on Twisted would pause a producer.
    """

    turns: Turns
    pace: Pace
    _held: list[bytes] | None = None
    _held_bytes = 0

    def doRead(self) -> Exception | None:  # type: ignore[override]  # Twisted does not say what it answers
        """As Twisted's, in one step; its answer is why the connection is over, if it is."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        """Send soon, or queue behind what cannot be sent now."""
        held = self._held
        if held is not None:
            held.append(data)
            self._held_bytes += len(data)
        elif (
            self.connected
            and not self.disconnecting
            and not self.dataBuffer
            and not self._tempDataBuffer
            and not self._writeDisconnected
            and not self.TLS
        ):
            self._held = [data]
            self._held_bytes = len(data)
            self.turns.add(self)
        else:
            super().write(data)
            return
        if self._held_bytes > self.bufferSize:
            self.flush()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """As :meth:`write`."""
        self.write(b"".join(iovec))

    def flush(self) -> None:
        """Send what is held back, or as much of it as the system takes."""
        held, self._held = self._held, None
        if held is None:
            return
        data = held[0] if len(held) == 1 else b"".join(held)
        try:
            sent = self.socket.send(data)
        except OSError:
            sent = 0  # No room, or a broken connection: the buffered way finds out and reports as usual.
        if sent < len(data):
            super().write(data[sent:])

    def _isSendBufferFull(self) -> bool:
        """What is not sent at once makes it full: Twisted would let 64 KiB wait before it tells anybody."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen > 0

    # Whatever ends the output comes after what was written before.

    def loseConnection(self) -> None:
        self.flush()
        super().loseConnection()

    def loseWriteConnection(self) -> None:
        self.flush()
        super().loseWriteConnection()

    def abortConnection(self) -> None:
        self.flush()
        super().abortConnection()
        # Nothing is written any more, however long it takes until it is its turn to end.
        self.connected = False

    def startTLS(self, *arguments: Any, **named: Any) -> None:
        self.flush()
        super().startTLS(*arguments, **named)

    def connectionLost(self, reason: Failure) -> None:
        self._held = None
        turns = self.turns
        if reason.check(ConnectionAborted) and turns.ending < MOST_ENDING and untaken(self) >= LARGE_END:
            turns.ending += 1
            self.pace.soon(f"end {owner_of(self)}", partial(self._end_in_turn, reason))
        else:
            self._end(reason)

    def _end_in_turn(self, reason: Failure) -> None:
        self.turns.ending -= 1
        self._end(reason)

    def _end(self, reason: Failure) -> None:
        if not self.disconnected:
            self.connected = True  # A client's own way to end asks whether it ever was.
            super().connectionLost(reason)


class EagerServer(Eager, tcp.Server):
    """One that a port accepted."""


class EagerClient(Eager, tcp.Client):
    """One that this process opened."""


_Kind = TypeVar("_Kind", EagerServer, EagerClient)


def eager_kind(kind: type[_Kind], turns: Turns, pace: Pace) -> type[_Kind]:
    """The connections of a kind that share turns."""
    return type(kind.__name__, (kind,), {"turns": turns, "pace": pace})


def make_eager(port: Any, kind: type[tcp.Server]) -> None:
    """Let a listening TCP port make eager connections from now on; other kinds of port stay as they are."""
    if isinstance(port, tcp.Port) and port.transport is tcp.Server:
        port.transport = kind


def bound_accepting(port: Any, now: Callable[[], float]) -> None:
    """Let a listening port accept for :data:`ACCEPT_SECONDS` in a turn, however many connections wait.

    Twisted's own bound is a number, which grows with every turn in which it was reached. ``now`` tells the
    time in seconds.
    """
    if not isinstance(port, tcp.Port):
        return
    accept = port.doRead

    def accept_in_time() -> None:
        end = now() + ACCEPT_SECONDS
        while True:
            port.numberAccepts = MOST_ACCEPTS
            accept()
            # What Twisted would accept the next time tells whether there were as many.
            if port.numberAccepts <= MOST_ACCEPTS or now() >= end:
                return

    port.doRead = accept_in_time  # type: ignore[method-assign]
