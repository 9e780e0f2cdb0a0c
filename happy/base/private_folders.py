"""Folders that only their owner may enter, whatever the process's umask is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o700
COMMON = 0o755
"""For the data folder: as root, PostgreSQL passes through it under an account of its own."""


def make_folder(folder: Path, mode: int = PRIVATE) -> None:
    """Make a folder, and those above it that are missing, each of this mode. Raises OSError.

    A folder that is there stays as it is.
    """
    missing = []
    place = folder
    while not place.is_dir():
        missing.append(place)
        place = place.parent
    for place in reversed(missing):
        try:
            place.mkdir(mode)
        except FileExistsError:
            if not place.is_dir():
                raise
        else:
            place.chmod(mode)  # which mkdir does not do for what the umask takes away


def close_folder(folder: Path) -> None:
    """Keep everybody else out of a folder, if it is this account's own. Raises OSError.

    What a symbolic link leads to was made by the operator, and is left as it is.
    """
    found = os.lstat(folder)
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
        folder.chmod(PRIVATE)
