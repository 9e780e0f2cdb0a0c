"""What the C library does with memory that is freed.

glibc takes large blocks from the system one by one, and gives each back when it is freed; but each one raises
the size from which on a block counts as large, up to 32 MiB. What it cuts out of its heap instead stays part
of the process, because a single small block above keeps all that is below: after a hundred answers of a
mebibyte the process remains that much larger. So the size is fixed, and the heap is asked for what is unused
while the process is large. Elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from happy.base.rounds import Rounds

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LARGE: Final = 256 * 1024
"""Bytes of a block that goes back to the system when it is freed; to get one takes longer, too."""

SPARE: Final = 16 * 1024 * 1024
"""Bytes at the end of the heap that stay: giving them back and taking them again takes time as well."""

SECONDS: Final = 15.0
"""How often the process is looked at."""

MARGIN: Final = 24 * 1024 * 1024
"""Bytes by which it may be larger than at the start without being asked for what is unused."""

_STATUS: Final = Path("/proc/self/statm")
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3


class Memory:
    """Lets freed memory go back to the system, as far as there is a way to say so.

    ``run`` makes a call elsewhere: after a flood it takes some fifty milliseconds, in which others can work.
    """

    def __init__(
        self, clock: IReactorTime, run: Callable[..., object] = lambda call, *args: call(*args)
    ) -> None:
        self._run = run
        self._usual = 0
        self._looking = Rounds("giving memory back", self._look, clock, seconds=SECONDS, patience=SECONDS)

    def start(self) -> None:
        """What the process has now is what it needs."""
        if _mallopt is not None:
            _mallopt(_MMAP_THRESHOLD, LARGE)
            _mallopt(_TRIM_THRESHOLD, SPARE)
        if _malloc_trim is not None and _STATUS.exists():
            self._usual = resident()
            self._looking.start()

    def stop(self) -> None:
        """Look no more."""
        self._looking.stop()

    async def _look(self) -> None:
        if _malloc_trim is not None and resident() > self._usual + MARGIN:
            self._run(_malloc_trim, 0)


def resident() -> int:
    """Bytes of the process that are in memory."""
    return int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library, if it has one of that name."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found


_mallopt: Final = _function("mallopt")
_malloc_trim: Final = _function("malloc_trim")
