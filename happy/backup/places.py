"""Folders in which something is put together that is to be there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from happy.base.private_folders import make_folder

PRIVATE = 0o600


@contextmanager
def made_folder(folder: Path, mode: int) -> Iterator[None]:
    """A folder that is there. What had to be made for it goes again, if it is empty, when the context fails.

    Raises OSError.
    """
    missing = [place for place in (folder, *folder.parents) if not place.is_dir()]
    try:
        make_folder(folder, mode)
        yield
    except BaseException:
        with suppress(OSError):
            for place in missing:
                place.rmdir()
        raise


@contextmanager
def workshop(folder: Path, prefix: str) -> Iterator[Path]:
    """A private folder inside of ``folder``, which goes with what is left in it when the context ends.

    What an earlier one left behind, whose process was killed, is removed. Raises OSError.
    """
    for left in folder.glob(f"{prefix}*"):
        _remove_unused(left)
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _remove_unused(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(place, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(handle)


def flush(folder: Path) -> None:
    """Let a folder's entries survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def new_file(path: Path) -> int:
    """The descriptor of a file that is made now, for nobody else to read. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
