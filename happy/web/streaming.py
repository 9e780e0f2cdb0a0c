"""Sending many bytes no faster than a client takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from happy.base.errors import Overloaded

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from twisted.web.http import HTTPChannel, Request

    from happy.api.answers import Allowance, Pieces
    from happy.base.bounds import Budget

CHUNK: Final = 64 * 1024
"""Bytes that are written at a time."""


def is_full(channel: HTTPChannel) -> bool:
    """Whether the other side has yet to take much of what was written to it."""
    return bool(channel._waitingForTransport)


class OnePiece:
    """Bytes at hand as :class:`~happy.api.answers.Pieces`: a single one."""

    def __init__(self, content: bytes) -> None:
        self.length: int | None = len(content)
        self._content = content

    async def read(self, allowance: Allowance) -> bytes:
        """All of them, then nothing. Raises Overloaded."""
        if not allowance.take(len(self._content)):
            raise Overloaded("there is no room for an answer")
        content, self._content = self._content, b""
        return content

    def close(self) -> None:
        """Forget them."""
        self._content = b""


class ManyPieces:
    """What an iterable yields as :class:`~happy.api.answers.Pieces`."""

    def __init__(self, chunks: Iterable[bytes], length: int | None) -> None:
        self.length = length
        self._chunks: Iterator[bytes] = iter(chunks)

    async def read(self, allowance: Allowance) -> bytes:
        """The next chunk. Raises Overloaded, and what the iterable raises."""
        chunk = next(self._chunks, b"")
        if not allowance.take(len(chunk)):
            raise Overloaded("there is no room for an answer")
        return chunk

    def close(self) -> None:
        """Forget them."""
        self._chunks = iter(())


@implementer(IPushProducer)
class Stream:
    """One body on its way to a client; its headers are written by the first chunk.

    A piece is read when the client has taken the one before, and no more once the client is gone. What is
    kept here is paid for in ``memory`` by ``payer``, who loses the connection when that is too much.
    ``wrote`` is called when something was written that the client has not taken.
    """

    def __init__(
        self, request: Request, pieces: Pieces, memory: Budget, payer: str, wrote: Callable[[], None]
    ) -> None:
        self._request = request
        self._pieces = pieces
        self._wrote = wrote
        self._holding = memory.open(payer, self)
        self._piece = b""
        self._gone = False
        self._full = False
        self._room: Deferred[None] | None = None

    async def prepare(self) -> None:
        """Read the first piece, before anything is written. Raises what reading does, Overloaded among it."""
        self._piece = await self._pieces.read(self._holding)

    async def send(self) -> bool:
        """True when everything was written, False when the client is gone.

        Raises what reading pieces does; then the connection was cut.
        """
        request, channel = self._request, self._channel
        if channel is None:
            return False
        request.notifyFinish().addErrback(self._left)
        request.registerProducer(self, True)
        self._full = is_full(channel)
        self._wrote()
        try:
            while not self._gone and self._piece:
                await self._write_piece()
                if not self._gone:
                    self._piece = await self._pieces.read(self._holding)
        except BaseException:
            if self._gone:
                return False  # Nobody waits for it any more.
            self._abort()
            raise
        finally:
            self._wrote()
            self._detach()
        return not self._gone

    async def _write_piece(self) -> None:
        start, size = 0, len(self._piece)
        while start < size and not self._gone:
            if self._full:
                self._room = Deferred()
                await self._room
            else:
                self._request.write(self._piece[start : start + CHUNK])
                start += CHUNK
        self._piece = b""
        self._holding.give_back(size)

    def resumeProducing(self) -> None:
        """The connection has room."""
        self._full = False
        self._wake()

    def pauseProducing(self) -> None:
        """The connection is full."""
        self._full = True
        self._wrote()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._gone = True
        self._wake()

    def give_up(self) -> None:
        """Somebody else needs the room: cut the connection."""
        self._gone = True
        self._piece = b""
        self._pieces.close()
        self._abort()

    def close(self) -> None:
        """Let go of everything."""
        self._piece = b""
        self._pieces.close()
        self._holding.close()

    @property
    def _channel(self) -> Any:
        """The connection, as long as there is one."""
        return self._request.channel

    def _left(self, reason: Failure) -> None:
        self.stopProducing()

    def _wake(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def _abort(self) -> None:
        channel = self._channel
        if channel is not None:
            channel.transport.abortConnection()

    def _detach(self) -> None:
        """Let go of the request, and it of this: otherwise neither would be freed."""
        if self._channel is not None:
            self._request.unregisterProducer()
        else:
            self._request.producer = None
