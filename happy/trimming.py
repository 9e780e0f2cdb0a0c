"""Giving freed memory back to the system.

The C library keeps what lies below any block that is still in use, and after a flood there always is one.
Asked to, it returns the free pages in between as well.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.threads import deferToThreadPool

from happy.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS: Final = 15.0


def trim() -> Callable[[int], int] | None:
    """What gives free pages back; None where the C library cannot do it (musl, macOS)."""
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return function


class Trimming:
    """Does so now and then, in a thread: it takes some 50 ms after a flood, and else less than one."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._trim = trim()
        self._rounds = Rounds("giving memory back", self._round, reactor, seconds=SECONDS, patience=SECONDS)

    def start(self) -> None:
        """Begin."""
        if self._trim is not None:
            self._rounds.start()

    def stop(self) -> None:
        """No further rounds."""
        self._rounds.stop()

    async def _round(self) -> None:
        assert self._trim is not None
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._trim, 0)
