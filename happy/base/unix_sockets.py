"""Names of unix sockets that fit into a socket address, whatever folder they are in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 107 if sys.platform == "linux" else 103


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name of ``path`` that a socket can be bound or connected to meanwhile. Raises OSError.

    Where the path is too long, Linux names its folder by a descriptor of it.
    """
    if len(os.fsencode(path)) <= _LONGEST or sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
