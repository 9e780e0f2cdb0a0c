"""A start in the background, for whose end the one who typed it waits.

twistd tells its first process that all is well before the reactor runs. Here that process goes on waiting
until the server serves, so that a start that fails is told on the terminal, and by the exit status.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.scripts._twistd_unix import UnixApplicationRunner

_SERVES = b"0"
_LONGEST = 4000
"""Bytes of a reason, which fit into a pipe that nobody reads yet."""

NO_WORD = "the server ended without a word; see its log"


class Terminal:
    """Whoever typed the start, and waits for what comes of it: here, or in twistd's first process.

    ``twistd`` are its options; None for a start by something else, which stays in the foreground.
    """

    def __init__(self, twistd: Mapping[str, Any] | None, *, log_is_plain: bool = True) -> None:
        stays = twistd is None or twistd.get("nodaemon", True) or twistd.get("debug", False)
        elsewhere = twistd is None or any(twistd.get(name) for name in ("logfile", "syslog", "logger"))
        self.has_the_log = stays and not elsewhere and log_is_plain
        """Whether the log is written to where a failure is told, for the same readers."""
        self._pipe = () if stays else _let_the_first_process_wait()

    def serves(self) -> None:
        """All is well."""
        self._tell(_SERVES)

    def fails(self, reason: str) -> None:
        """The server does not start, for a reason that is one line."""
        if not self._pipe:
            _say(reason, 1)
        self._tell(reason.encode()[:_LONGEST])

    def _tell(self, word: bytes) -> None:
        if self._pipe:
            reads, writes = self._pipe
            self._pipe = ()
            os.close(reads)
            with suppress(OSError):  # whoever waited has gone
                os.write(writes, word)
            os.close(writes)


def _let_the_first_process_wait() -> tuple[int, int]:
    """A pipe by which the process that will run tells what came of its start."""
    reads, writes = os.pipe()
    first = UnixApplicationRunner._waitForStart

    def wait(self: Any, pipe: int) -> int:
        """In the first process: what twistd waits for, and then the end of the start."""
        os.close(writes)
        return first(self, pipe) or _outcome(reads)

    UnixApplicationRunner._waitForStart = wait  # type: ignore[method-assign, assignment]
    return reads, writes


def _outcome(reads: int) -> int:
    """The exit status of the first process."""
    try:
        with os.fdopen(reads, "rb") as pipe:
            word = pipe.read()
    except KeyboardInterrupt:
        return _say("not waited for; the server goes on starting in the background", 130)
    return 0 if word == _SERVES else _say(word.decode(errors="replace") or NO_WORD, 1)


def _say(line: str, status: int) -> int:
    print(f"happy: {line}", file=sys.__stderr__, flush=True)
    return status
