"""Answers on the wire."""

from __future__ import annotations

from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger
from twisted.web.http import NOT_MODIFIED, RESPONSES, Request, datetimeToString

from happy.api import answers
from happy.api.answers import Answer, Pieces
from happy.api.structs import Blob
from happy.base.errors import ChangedMeanwhile, Overloaded
from happy.base.redaction import describe_fault
from happy.web.files import PATIENCE, FilePieces, Opened, opened
from happy.web.places import KEEP_ALIVE_SECONDS
from happy.web.ranges import Header, Part, range_headers, requested_part, unchanged, whole
from happy.web.streaming import CHUNK, ManyPieces, OnePiece, Stream, is_full
from happy.web.unsent import Unsent

if TYPE_CHECKING:
    from happy.api.parts import Parts

_log = Logger()

AT_ONCE: Final = CHUNK
"""A body up to this size is written in one piece."""

TINY: Final = 512
"""Of a body up to this size, nobody asks what becomes of it."""

_CORS: Final = b"Access-Control-Allow-Origin: *\r\n"
_STAYS: Final = b"Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n" % KEEP_ALIVE_SECONDS
_CLOSES: Final = b"Connection: close\r\n"


class Sender:
    """Sends answers as fast as clients take them. ``unsent`` looks after what they leave."""

    def __init__(self, parts: Parts) -> None:
        self._memory = parts.memory
        self._threads = {"files": parts.files, "pages": parts.pages}
        self._slow = parts.metrics.happy_slow_readers_total
        self.unsent = Unsent(parts.clock, parts.memory, lambda reason: self._slow.labels(reason).inc())

    async def send(self, request: Request, answer: Answer, payer: str, *, cors: bool) -> int:
        """Send ``answer`` unless the client has left; returns the status.

        ``payer`` is the owner of what is kept meanwhile.
        """
        if cors:
            request.setHeader("access-control-allow-origin", "*")
        content = answer.content
        if isinstance(content, Blob):
            return await self._send_blob(request, answer, content, payer)
        if not isinstance(content, bytes):
            return await self._stream(request, answer, content, payer)
        channel: Any = request.channel
        if len(content) > AT_ONCE or (channel is not None and is_full(channel)):
            return await self._stream(request, answer, OnePiece(content), payer)
        _begin(request, answer, len(content))
        self._close(request, content, payer)
        return answer.status

    async def _stream(self, request: Request, answer: Answer, pieces: Pieces, payer: str) -> int:
        """Send piece by piece. When there is no room, the answer becomes another one, or breaks off."""
        wrote = partial(self._note, request, payer)
        stream = Stream(request, pieces, self._memory, payer, wrote)
        try:
            if request.method == b"HEAD":
                _begin(request, answer, pieces.length)
                self._close(request, b"", payer)
                return answer.status
            fault = await _unreadable(stream)
            if fault is not None:
                return await self.send(request, fault, payer, cors=False)
            _begin(request, answer, pieces.length)
            if await stream.send():
                request.finish()
        except (ChangedMeanwhile, Overloaded):
            self._slow.labels("crowd").inc()  # The connection was cut, which says it all.
        finally:
            stream.close()
        return answer.status

    def _close(self, request: Request, content: bytes, payer: str) -> None:
        if request.channel is not None:
            if len(content) > TINY or not request.channel.persistent:
                self._note(request, payer)
            request.write(content)
            request.finish()

    def _note(self, request: Request, payer: str) -> None:
        """Something was written to the connection, if there is one."""
        if request.channel is not None:
            self.unsent.wrote(request.channel.transport, payer)

    async def _send_blob(self, request: Request, answer: Answer, blob: Blob, payer: str) -> int:
        if blob.path is None:
            chunks = ManyPieces(blob.chunks or (), blob.length)
            return await self._stream(request, answer, chunks, payer)
        try:
            file = await self._threads[blob.shelf].within_for(payer, PATIENCE, opened, blob.path)
        except Overloaded:
            return await self.send(request, answers.overloaded().answer(), payer, cors=False)
        except OSError as error:
            _log.error("A file cannot be sent: {fault}", fault=describe_fault(error))
            return await self.send(request, answers.failure().answer(), payer, cors=False)
        return await self._send_file(request, answer, blob, file, payer)

    async def _send_file(self, request: Request, answer: Answer, blob: Blob, file: Opened, payer: str) -> int:
        headers, part = _part(file, partial(header_of, request)) if blob.ranges else ({}, whole(file.size))
        content_type = None if part.status == NOT_MODIFIED else answer.content_type
        content: bytes | FilePieces
        if isinstance(file.body, bytes):
            content = file.body[part.start : part.start + part.length]
        else:
            content = FilePieces(self._threads[blob.shelf], file.body, part.start, part.length, payer)
        found = Answer(
            status=part.status,
            content=content,
            content_type=content_type,
            headers={**headers, **answer.headers, **range_headers(part, file.size)},
        )
        return await self.send(request, found, payer, cors=False)


async def _unreadable(stream: Stream) -> Answer | None:
    """What is answered instead, if the first piece cannot be read."""
    try:
        await stream.prepare()
    except (ChangedMeanwhile, Overloaded):
        return answers.overloaded().answer()
    except Exception as error:
        # Nothing is sent yet, so the client can be told; from the first byte on it is only cut.
        _log.error("An answer cannot be read: {fault}", fault=describe_fault(error))
        return answers.failure().answer()
    return None


def _part(file: Opened, header: Header) -> tuple[dict[str, str], Part]:
    """The part of a file that is asked for, and the headers of a file that has parts.

    Status 304 and nothing, if the client has it already.
    """
    modified = file.modified_ns // 10**9
    etag = f'W/"{file.size:x}-{file.modified_ns:x}"'
    headers = {"accept-ranges": "bytes", "etag": etag, "last-modified": http_date(modified)}
    if unchanged(header, etag, modified):
        return headers, Part(304, 0, 0)
    return headers, requested_part(header, file.size, etag, modified)


def head_of(answer: Answer, length: int, *, cors: bool, stays: bool) -> bytes:
    """The head of an answer of ``length`` bytes without further headers, as :class:`Sender` writes it.

    ``stays`` tells whether the connection is kept.
    """
    lines = _first_lines(answer.status, answer.content_type or "", cors)
    last = _STAYS if stays else _CLOSES
    return b"%bContent-Length: %d\r\nDate: %b\r\n%b\r\n" % (lines, length, http_now(), last)


@lru_cache(maxsize=100)
def _first_lines(status: int, content_type: str, cors: bool) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%bContent-Type: %b\r\n" % (
        status,
        RESPONSES.get(status, b"Unknown Status"),
        _CORS if cors else b"",
        content_type.encode("latin-1"),
    )


def _begin(request: Request, answer: Answer, length: int | None) -> None:
    request.setResponseCode(answer.status)
    if answer.content_type is not None:
        request.setHeader("content-type", answer.content_type)
    for name, value in answer.headers.items():
        request.setHeader(name, value)
    if length is not None and answer.status != NOT_MODIFIED:
        request.setHeader("content-length", str(length))


def http_date(seconds: float) -> str:
    """A time in the form of HTTP headers."""
    return str(datetimeToString(seconds), "ascii")


def http_now() -> bytes:
    """The time now, as in the header ``Date``."""
    return _date(int(time()))


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    now: bytes = datetimeToString(seconds)
    return now


def header_of(request: Request, name: str) -> str | None:
    """The first value of a request header."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii"))
    return values[0].decode("latin-1") if values else None
