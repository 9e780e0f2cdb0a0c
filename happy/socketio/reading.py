"""What a WebSocket client has sent that is not worked on yet: bounded in time and in memory.

A read may hold ten thousand frames. They are worked on as long as the reactor has time for them
(:mod:`happy.base.pace`); the rest waits, and so does whatever else the client sends. Everything that is
kept, unfinished frames and messages too, counts as its owner's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.protocol import connectionDone

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from happy.base.bounds import Holding
    from happy.base.pace import Pace

PIECE: Final = 4096
"""Bytes that Autobahn is given at a time: it copies what is left of them for every frame."""


class ReadingWebSocket(WebSocketServerProtocol):
    """Takes in frames no faster than there is time, and keeps no more than there is room for.

    ``holding`` is what its input counts in, if there is any.
    """

    pace: Pace
    transport: Any
    holding: Holding | None = None

    _unread = b""
    _reading = True
    _assembled = 0
    _held = 0
    _end: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        if self._unread:
            self._unread += data
            self._reading = False
            self.transport.pauseProducing()
            self._count_input()
        elif self.state == self.STATE_CONNECTING:
            super().dataReceived(data)
        else:
            if not self.pace.told:
                self.pace.begin()
            self._read(data)

    def go_on(self) -> None:
        """Work on what had to wait. For :class:`Pace`."""
        data, self._unread = self._unread, b""
        if data:
            self._read(data)
        if self._unread:
            return
        if self._end is not None:
            super().connectionLost(self._end)
        elif not self._reading:
            self._reading = True
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more will come; what came is worked on before anybody hears of that."""
        if self._unread:
            self._end = reason
        else:
            super().connectionLost(reason)

    def _read(self, data: bytes) -> None:
        try:
            rest = data if self.pace.over() else self.consume(data)
        except Exception as error:
            # Whoever calls goes on with others, and from a queue nobody would end this connection.
            self.failed(error)
            return
        if rest:
            self._unread = rest
            self.pace.wait(self.name, self)
        if rest or self.data or self._assembled or self._held:
            self._count_input()

    @property
    def name(self) -> str:
        """In whose line it waits."""
        raise NotImplementedError

    def consume(self, data: bytes) -> bytes:
        """Take what there is time for, and at least some; the rest is returned."""
        for end in range(PIECE, len(data) + PIECE, PIECE):
            super().dataReceived(data[end - PIECE : end])
            if self.pace.over():
                rest, self.data = self.data + data[end:], b""
                return rest
        return b""

    def failed(self, error: Exception) -> None:
        """Something about the input was not foreseen."""
        raise NotImplementedError

    def crowded(self) -> None:
        """There is no room for what was read."""
        raise NotImplementedError

    def forget_input(self) -> None:
        """Keep nothing of what was read."""
        self._unread = self.data = b""
        self.frame_data, self.message_data = [], []
        self._assembled = 0
        self._count_input()

    def give_back_input(self) -> None:
        """What is read from now on, and what was, is nobody's any more."""
        holding, self.holding = self.holding, None
        if holding is not None:
            holding.give_back(self._held)

    def _count_input(self) -> None:
        held = len(self._unread) + len(self.data) + self._assembled
        more = held - self._held
        if self.holding is None or not more:
            return
        if more < 0:
            self.holding.give_back(-more)
        elif not self.holding.take(more):
            self.crowded()
            return
        self._held = held

    # What Autobahn calls

    def consumeData(self) -> None:
        """Work on what was received, a frame's head or payload at a time."""
        if self.state == self.STATE_CONNECTING:
            super().consumeData()
            return
        while self.processData() and self.state != self.STATE_CLOSED:
            if self.pace.over():
                return

    def onMessageFrameData(self, payload: bytes) -> None:
        """A part of a frame, which nobody will hear of when the connection is closing."""
        if self.state == self.STATE_OPEN:
            self._assembled += len(payload)
            self.frame_data = _joined(self.frame_data, payload)

    def onMessageFrame(self, payload: Any) -> None:
        """A whole frame, in its parts."""
        for part in payload:
            self.message_data = _joined(self.message_data, part)

    def onMessageEnd(self) -> None:
        """The message is complete."""
        self._assembled = 0
        super().onMessageEnd()


def _joined(parts: list[Any], part: bytes) -> list[Any]:
    """Parts of a message and one more, as one: a part of two bytes would take twenty times as many."""
    if not parts:
        return [part]
    whole = parts[0] if isinstance(parts[0], bytearray) else bytearray(parts[0])
    whole += part
    return [whole]
