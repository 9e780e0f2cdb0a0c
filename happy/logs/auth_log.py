"""The one file with addresses: who was refused, for programs such as fail2ban that shut them out.

A line is ``2026-01-31T12:00:00Z refused 192.0.2.1: token of another secret``; of IPv6 the network (/64) is
named.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from happy.base.errors import StartupError

MINUTE: Final = 60.0

SAME: Final = 20
"""Lines about one address in a minute: more than it takes to be shut out."""

MOST: Final = 600
"""Lines in a minute."""

_MODE: Final = 0o640


def open_auth_log(path: Path, now: Callable[[], float], seconds: Callable[[], float]) -> AuthLog:
    """The log, ready to be written. Raises StartupError when its file is not to be had."""
    try:
        return AuthLog(path, now, seconds)
    except OSError as error:
        raise StartupError(f"auth-log: {path} cannot be written: {error.strerror}") from None


class AuthLog:
    """Writes a line for each refusal into ``path``. Raises OSError when it cannot be opened.

    ``now`` tells the wall clock's time, ``seconds`` is a clock that never goes back.
    """

    _log = Logger()

    def __init__(self, path: Path, now: Callable[[], float], seconds: Callable[[], float]) -> None:
        self._path = path.absolute()  # As it is named at the start, wherever the process is later.
        self._now = now
        self._seconds = seconds
        self._ends = seconds()
        self._lines: Counter[str] = Counter()
        self._left = MOST
        self._failed = False
        self._file = self._open()

    def note(self, address: str, reason: str) -> None:
        """Somebody at ``address`` was refused."""
        if self._seconds() >= self._ends:
            self._ends = self._seconds() + MINUTE
            self._lines.clear()
            self._left = MOST
        if self._left and self._lines[address] < SAME:
            self._left -= 1
            self._lines[address] += 1
            self._write(address, reason)

    def _write(self, address: str, reason: str) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
        try:
            os.write(self._file, f"{when} refused {address}: {reason}\n".encode())
        except OSError as error:
            if not self._failed:
                self._log.error("auth-log cannot be written: {reason}", reason=error.strerror)
            self._failed = True
        else:
            self._failed = False

    def reopen(self) -> None:
        """Go on in a new file of that name, as the former was moved away; if there can be none, in that."""
        try:
            file = self._open()
        except OSError as error:
            self._log.error("auth-log cannot be opened again: {reason}", reason=error.strerror)
            return
        self.stop()
        self._file = file

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def stop(self) -> None:
        """Write no more."""
        os.close(self._file)
