"""Where the tests keep their files: in memory, where there is plenty of it.

Nearly all of what they write are databases of some 300 files each, which are gone again in a moment. Whoever
wants them elsewhere says so by ``TMPDIR``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free there; the tests need less than a quarter of it."""
_PREFIX = "happy-"
_LOCK = "lock"


class Scratch:
    """A folder in memory, for the temporary files of this process and of those that it starts."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=MEMORY))
        # PostgreSQL runs under another account when the tests are root's.
        self.folder.chmod(0o755)
        self._lock = _held(self.folder / _LOCK)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder)

    def remove(self) -> None:
        """Remove it with everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def in_memory() -> Scratch | None:
    """A folder in memory, if there is room and nobody said otherwise; removes what dead processes left."""
    if "TMPDIR" in os.environ or not _suits():
        return None
    remove_abandoned()
    return Scratch()


def remove_abandoned() -> None:
    """Remove the folders of processes that were killed: what holds a folder ends with its process."""
    for folder in MEMORY.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = _held(folder / _LOCK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _suits() -> bool:
    """Whether programs can be started from there too, and there is room."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC


def _held(path: Path) -> int | None:
    """The descriptor of a lock that nobody else holds. Raises OSError where there can be none."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
