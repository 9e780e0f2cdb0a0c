"""Identifiers: of database rows, which are cuid version 1 (schema.md 2.1), and of updates."""

from __future__ import annotations

import functools
import os
import socket
import string
import time

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_COUNTS = 36**4
_RANDOMS = 36**8
_AT_ONCE = 64
"""Random numbers that are asked of the system together: each question costs more than the rest of an id."""

# Only to be told apart: that the first letters are a little likelier does no harm.
_LETTERS = ((string.ascii_letters + string.digits) * 5).encode("ascii")[:256]
_LENGTH = 12
_drawn: list[str] = []


class CuidSource:
    """Makes the ids of one process; they are strictly increasing in the order they are made.

    ``pid`` and ``host`` make the fingerprint that tells the processes of a deployment apart.
    """

    def __init__(self, pid: int, host: str) -> None:
        self._fingerprint = _PAIRS[pid % 1296] + _PAIRS[(sum(host.encode()) + len(host) + 36) % 1296]
        self._milliseconds = -1
        self._prefix = ""
        self._count = -1
        self._tails: list[str] = []

    def cuid(self, now_ms: int) -> str:
        """A new id that carries ``now_ms``, the time in epoch milliseconds.

        When the clock stands still or goes back, the latest time used so far is carried instead.
        """
        self._count += 1
        if self._count == _COUNTS:
            self._count = 0
            now_ms = max(now_ms, self._milliseconds + 1)  # a wrapped counter must not sort first
        if now_ms > self._milliseconds:
            self._milliseconds = now_ms
            self._prefix = "c" + _eight(now_ms)
        if not self._tails:
            self._tails = _random_tails(_AT_ONCE)
        return f"{self._prefix}{_four(self._count)}{self._fingerprint}{self._tails.pop()}"


def cuid(now_ms: int) -> str:
    """A new id of this process, made at ``now_ms`` (epoch milliseconds)."""
    return _source().cuid(now_ms)


def new_cuid() -> str:
    """A new id of this process, made now."""
    return _source().cuid(time.time_ns() // 1_000_000)


@functools.cache
def _source() -> CuidSource:
    """The source of the running process."""
    return CuidSource(os.getpid(), socket.gethostname())


# A daemonised child has its own: to ask for the process at every id is another system call.
os.register_at_fork(after_in_child=_source.cache_clear)
os.register_at_fork(after_in_child=_drawn.clear)


def update_id() -> str:
    """Twelve random letters and digits."""
    if not _drawn:
        letters = os.urandom(_LENGTH * _AT_ONCE).translate(_LETTERS).decode("ascii")
        _drawn.extend(letters[start : start + _LENGTH] for start in range(0, len(letters), _LENGTH))
    return _drawn.pop()


def _random_tails(count: int) -> list[str]:
    """So many times eight digits that nobody can foresee."""
    return [_eight(number % _RANDOMS) for number in memoryview(os.urandom(8 * count)).cast("Q")]


def _four(number: int) -> str:
    """Four base 36 digits of a number below 36^4."""
    return _PAIRS[number // 1296] + _PAIRS[number % 1296]


def _eight(number: int) -> str:
    """Eight base 36 digits of a number below 36^8."""
    high, low = divmod(number, _COUNTS)
    return f"{_PAIRS[high // 1296]}{_PAIRS[high % 1296]}{_PAIRS[low // 1296]}{_PAIRS[low % 1296]}"
