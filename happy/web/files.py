"""Files on their way out. They may be on a network, so nothing here is done on the reactor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from twisted.internet.defer import Deferred, succeed

from happy.errors import Overloaded
from happy.web.streaming import CHUNK

if TYPE_CHECKING:
    from happy.threads import Threads
    from happy.wire.answers import Allowance

PATIENCE: Final = 10.0
"""Seconds that a file system may take for one step."""


class Opened(NamedTuple):
    """A file and what the system says about it; of a small one ``body`` is what it holds."""

    size: int
    modified_ns: int
    body: BinaryIO | bytes


def opened(path: Path) -> Opened:
    """Open a file. Blocks; raises OSError."""
    file = path.open("rb")
    try:
        facts = os.fstat(file.fileno())
        if facts.st_size > CHUNK:
            return Opened(facts.st_size, facts.st_mtime_ns, file)
        content = file.read(CHUNK)
    except BaseException:
        file.close()
        raise
    file.close()
    return Opened(len(content), facts.st_mtime_ns, content)


class FilePieces:
    """``length`` bytes of an open file from ``start`` on, the next chunk read while one is sent.

    Implements :class:`~happy.wire.answers.Pieces`; the file is closed with it.
    """

    def __init__(self, threads: Threads, file: BinaryIO, start: int, length: int) -> None:
        self.length: int | None = length
        self._threads = threads
        self._file: BinaryIO | None = file
        self._at = start
        self._end = start + length
        self._ahead: Deferred[bytes] | None = None

    async def read(self, allowance: Allowance) -> bytes:
        """The next chunk. Raises EOFError if the file has shrunk, OSError, and Overloaded."""
        ahead, self._ahead = self._ahead, None
        chunk = await (ahead or self._next(allowance))
        if self._file is not None and chunk:
            self._ahead = self._next(allowance)
        return chunk

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        ahead, self._ahead = self._ahead, None
        if file is not None:
            # What is being read goes first: an error in a thread would keep everything around it.
            done = succeed(b"") if ahead is None else ahead.addErrback(_forget)
            done.addCallback(lambda _: self._threads.run(file.close)).addErrback(_forget)

    def _next(self, allowance: Allowance) -> Deferred[bytes]:
        size = min(CHUNK, self._end - self._at)
        if self._file is None or not size:
            return succeed(b"")
        if not allowance.take(size):
            raise Overloaded("there is no room for an answer")
        at, self._at = self._at, self._at + size
        return self._threads.within(PATIENCE, _read, self._file, at, size)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    chunk = file.read(size)
    if len(chunk) < size:
        raise EOFError("a file shrank while it was sent")
    return chunk


def _forget(failure: object) -> None:
    """Nobody waits for it any more."""
