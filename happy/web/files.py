"""Files on their way out. They may be on a network, so the reactor waits for none of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from happy.base.errors import Overloaded
from happy.web.streaming import CHUNK

if TYPE_CHECKING:
    from happy.api.answers import Allowance
    from happy.base.threads import Threads

PATIENCE: Final = 10.0
"""Seconds that a file system may take for one step."""

IN_A_ROW: Final = 16
"""Chunks that are read without a thread before others have their turn."""


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
    """``length`` bytes of an open file from ``start`` on, in chunks.

    What the system has at hand is read at once, the rest in ``threads``. Implements
    :class:`~happy.api.answers.Pieces`; the file is closed with it.
    """

    def __init__(self, threads: Threads, file: BinaryIO, start: int, length: int, payer: str) -> None:
        self.length: int | None = length
        self._threads = threads
        self._payer = payer
        self._file: BinaryIO | None = file
        self._at = start
        self._end = start + length
        self._in_a_row = 0
        self._reading = False

    async def read(self, allowance: Allowance) -> bytes:
        """The next chunk. Raises EOFError if the file has shrunk, OSError, and Overloaded."""
        size = min(CHUNK, self._end - self._at)
        if self._file is None or not size:
            return b""
        if not allowance.take(size):
            raise Overloaded("there is no room for an answer")
        chunk = self._at_hand(self._file, size) or await self._in_thread(self._file, size)
        self._at += len(chunk)
        allowance.give_back(size - len(chunk))
        return chunk

    def close(self) -> None:
        """Close the file, after what is being read of it."""
        file, self._file = self._file, None
        if file is not None and not self._reading:
            self._close(file)

    def _at_hand(self, file: BinaryIO, size: int) -> bytes:
        """What of the next ``size`` bytes the system gives without waiting, if anything."""
        self._in_a_row += 1
        if _AT_ONCE is None or self._in_a_row > IN_A_ROW:
            return b""
        chunk = bytearray(size)
        try:
            found = os.preadv(file.fileno(), [chunk], self._at, _AT_ONCE)
        except OSError:
            return b""
        return bytes(memoryview(chunk)[:found])

    async def _in_thread(self, file: BinaryIO, size: int) -> bytes:
        self._in_a_row = 0
        self._reading = True
        try:
            return await self._threads.within_for(self._payer, PATIENCE, _read, file, self._at, size)
        finally:
            self._reading = False
            if self._file is None:
                self._close(file)

    def _close(self, file: BinaryIO) -> None:
        self._threads.run(file.close).addErrback(lambda failure: None)


_AT_ONCE: Final[int | None] = getattr(os, "RWF_NOWAIT", None)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    chunk = file.read(size)
    if len(chunk) < size:
        raise EOFError("a file shrank while it was sent")
    return chunk
