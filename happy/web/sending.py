"""Answers on the wire."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, BinaryIO, Final

from twisted.logger import Logger
from twisted.web.http import NOT_MODIFIED, RESPONSES, Request, datetimeToString

from happy.faults import describe_fault
from happy.web.channel import KEEP_ALIVE_SECONDS
from happy.web.ranges import Header, Part, range_headers, requested_part, unchanged
from happy.web.streaming import CHUNK, Stream, file_chunks, slices
from happy.wire import answers
from happy.wire.answers import Answer
from happy.wire.structs import Blob

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_log = Logger()

AT_ONCE: Final = CHUNK
"""A body up to this size is written in one piece."""

_CORS: Final = b"Access-Control-Allow-Origin: *\r\n"
_STAYS: Final = b"Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n" % KEEP_ALIVE_SECONDS
_CLOSES: Final = b"Connection: close\r\n"


async def send(request: Request, answer: Answer, clock: IReactorTime, *, cors: bool) -> int:
    """Send ``answer``, as fast as the client takes it, unless it has left; returns the status."""
    if cors:
        request.setHeader("access-control-allow-origin", "*")
    if isinstance(answer.content, Blob):
        return await _send_blob(request, answer, answer.content, clock)
    _begin(request, answer, len(answer.content))
    await _finish(request, answer.content, clock)
    return answer.status


def head_of(answer: Answer, length: int, *, cors: bool, stays: bool) -> bytes:
    """The head of an answer of ``length`` bytes without further headers, as :func:`send` would write it.

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


async def _finish(request: Request, content: bytes, clock: IReactorTime) -> None:
    if len(content) <= AT_ONCE:
        _close(request, content)
    else:
        await _stream(request, slices(content), clock)


def _close(request: Request, content: bytes = b"") -> None:
    if request.channel is not None:
        request.write(content)
        request.finish()


async def _stream(request: Request, chunks: Iterable[bytes], clock: IReactorTime) -> None:
    """Send chunk by chunk; a client that leaves, or takes nothing for long, loses the rest."""
    if request.channel is None:
        return
    if request.method == b"HEAD":
        _close(request)
        return
    if await Stream(request, chunks, clock).start():
        request.finish()


async def _send_blob(request: Request, answer: Answer, blob: Blob, clock: IReactorTime) -> int:
    if blob.path is None:
        _begin(request, answer, blob.length)
        await _stream(request, blob.chunks or (), clock)
        return answer.status
    try:
        file = _OpenFile(blob)
    except OSError as error:
        _log.error("A file cannot be sent: {fault}", fault=describe_fault(error))
        return await send(request, answers.failure().answer(), clock, cors=False)
    with file:
        return await _send_file(request, answer, file, clock)


class _OpenFile:
    """A file about to be sent, and what HTTP says about it. Raises OSError."""

    def __init__(self, blob: Blob) -> None:
        assert blob.path is not None
        self._file: BinaryIO = blob.path.open("rb")
        facts = os.fstat(self._file.fileno())
        self.size = facts.st_size
        self.modified = int(facts.st_mtime) if blob.ranges else None
        self.etag = f'W/"{facts.st_size:x}-{facts.st_mtime_ns:x}"' if blob.ranges else None

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def headers(self) -> dict[str, str]:
        """The headers of a file that may be asked for in parts."""
        if self.etag is None or self.modified is None:
            return {}
        return {"accept-ranges": "bytes", "etag": self.etag, "last-modified": http_date(self.modified)}

    def part(self, header: Header) -> Part:
        """The part of the file to send; status 304 and nothing, if the client has it already."""
        if self.etag is None:
            return Part(200, 0, self.size)
        if unchanged(header, self.etag, self.modified):
            return Part(304, 0, 0)
        return requested_part(header, self.size, self.etag, self.modified)

    def chunks(self, part: Part) -> Iterable[bytes]:
        return file_chunks(self._file, part.start, part.length)


async def _send_file(request: Request, answer: Answer, file: _OpenFile, clock: IReactorTime) -> int:
    part = file.part(partial(header_of, request))
    headers = {**file.headers(), **answer.headers, **range_headers(part, file.size)}
    content_type = None if part.status == NOT_MODIFIED else answer.content_type
    _begin(
        request,
        Answer(status=part.status, content_type=content_type, headers=headers),
        part.length,
    )
    await _stream(request, file.chunks(part), clock)
    return part.status


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
