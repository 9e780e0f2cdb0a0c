"""Sending many bytes no faster than a client reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.web.http import Request

CHUNK: Final = 64 * 1024
STALL_SECONDS: Final = 60.0
"""A client that takes nothing for so long is gone."""


@implementer(IPushProducer)
class Stream:
    """One body on its way to a client; its headers are written by the first chunk.

    Chunks are taken from ``chunks`` only while the connection takes them, and never after it is lost.
    """

    def __init__(self, request: Request, chunks: Iterable[bytes], clock: IReactorTime) -> None:
        self._request = request
        self._chunks: Iterator[bytes] = iter(chunks)
        self._clock = clock
        self._paused = False
        self._busy = False
        self._stall: IDelayedCall | None = None
        self._ended: Deferred[bool] | None = Deferred()

    def start(self) -> Deferred[bool]:
        """Begin; fires with True when every chunk was handed over, with False when the client is gone.

        Fails with what ``chunks`` raised, after the connection was cut.
        """
        assert self._ended is not None
        ended = self._ended
        self._request.notifyFinish().addErrback(lambda lost: self.stopProducing())
        self._request.registerProducer(self, True)
        self.resumeProducing()
        return ended

    def resumeProducing(self) -> None:
        """The connection has room."""
        self._paused = False
        self._forget_stall()
        if self._busy:
            return
        self._busy = True
        try:
            while not self._paused and self._ended is not None:
                self._write_next()
        finally:
            self._busy = False

    def _write_next(self) -> None:
        try:
            chunk = next(self._chunks, None)
        except Exception:
            self._abort()
            self._end(Failure())
            return
        if chunk is None:
            self._request.unregisterProducer()
            self._end(True)
        else:
            self._request.write(chunk)

    def pauseProducing(self) -> None:
        """The connection is full."""
        self._paused = True
        if self._stall is None and self._ended is not None:
            self._stall = self._clock.callLater(STALL_SECONDS, self._abort)

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._end(False)

    def _abort(self) -> None:
        self._stall = None
        channel: Any = self._request.channel
        if channel is not None:
            channel.transport.abortConnection()

    def _forget_stall(self) -> None:
        stall, self._stall = self._stall, None
        if stall is not None:
            stall.cancel()

    def _end(self, result: bool | Failure) -> None:
        self._forget_stall()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended.callback(result)


def file_chunks(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    """``length`` bytes of an open file from ``start`` on. Raises EOFError if the file has shrunk."""
    file.seek(start)
    while length > 0:
        chunk = file.read(min(CHUNK, length))
        if not chunk:
            raise EOFError("a file shrank while it was sent")
        length -= len(chunk)
        yield chunk


def slices(content: bytes) -> Iterator[bytes]:
    """Bytes at hand, in pieces."""
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]
