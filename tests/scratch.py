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
        # It has its name when it is held: others remove what has the name and is not held.
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=MEMORY))
        # PostgreSQL runs under another account when the tests are root's.
        made.chmod(0o755)
        self._lock = _held(made / _LOCK, os.O_CREAT)
        self.folder = made.rename(MEMORY / made.name[1:])
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
    """Remove our folders of processes that were killed: what holds a folder ends with its process."""
    for folder in MEMORY.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = _held(folder / _LOCK) if folder.lstat().st_uid == os.getuid() else None
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


def _held(path: Path, flags: int = 0) -> int | None:
    """The descriptor of a lock, unless somebody holds it. Raises OSError where there is none."""
    lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
