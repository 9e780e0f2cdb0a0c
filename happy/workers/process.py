"""A worker's process as its parent sees it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.workers.talk import (
    ANSWERS,
    LONGEST,
    Alive,
    Brief,
    Failed,
    Logged,
    Serving,
    decode,
    write_brief,
)

INHERITED: Final = 10
"""The number of the first listening socket in a worker; the others follow."""

_COMMAND: Final = (
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from happy.worker import main; main()"
)
"""Until a worker has files to open again, being asked to do so must not end it."""

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


class WorkerProcess(ProcessProtocol):
    """One process, which waits to be told what it is.

    ``serving`` fires when it serves, and fails with RuntimeError if it ends before. ``ended`` fires after its
    end with the way it ended; ``write`` is given what it logs.
    """

    _log = Logger()
    transport: Any = None

    def __init__(self, write: Callable[[Logged], None]) -> None:
        self.serving: Deferred[None] = Deferred()
        self.ended: Deferred[str] = Deferred()
        self.running = True
        self._spoken = False
        self.name = "the spare worker"
        self._reason: str | None = None
        self._last_words = ""
        self._write = write
        self._lines: dict[int, bytes] = {}

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        pid: int | None = self.transport.pid if self.running else None
        return pid

    def assign(self, brief: Brief) -> None:
        """Tell it what it is. Its standard input stays open: it lives as long."""
        self.name = brief.place.name
        self.transport.writeToChild(_INPUT, write_brief(brief))

    def has_spoken(self) -> bool:
        """Whether it has said that it goes on since this was last asked."""
        spoken, self._spoken = self._spoken, False
        return spoken

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It says something, or something in it does."""
        *lines, rest = (self._lines.get(childFD, b"") + data).split(b"\n")
        self._lines[childFD] = rest[:LONGEST]
        for line in lines:
            if childFD == ANSWERS:
                self._answered(line)
            elif line.strip():
                # Of the many lines of a traceback the last one tells most, and few are let into the log.
                self._last_words = line.decode("utf-8", "replace").strip()
                self._log.warn("{worker} prints: {line}", worker=self.name, line=self._last_words)

    def _answered(self, line: bytes) -> None:
        try:
            answer = decode(line)
        except msgspec.DecodeError:  # it was too long, or not written to its end
            return
        match answer:
            case Logged():
                self._write(answer)
            case Serving():
                self.serving.callback(None)
            case Alive():
                self._spoken = True
            case Failed(reason):
                self._reason = reason

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and everything it said is there."""
        self.running = False
        error: Any = reason.value
        how = f"signal {error.signal}" if error.signal else f"status {error.exitCode}"
        if not self.serving.called:
            words = f": {self._last_words}" if self._last_words else ""
            self.serving.errback(RuntimeError(self._reason or f"{self.name} ended with {how}{words}"))
        self.ended.callback("an orderly end" if reason.check(ProcessDone) else how)

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it is still there."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number.value)


class Spawning:
    """Makes workers' processes, all of which inherit all listening ``sockets``."""

    def __init__(self, reactor: Any, sockets: Sequence[int], write: Callable[[Logged], None]) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._write = write

    def spawn(self) -> WorkerProcess:
        """A process. Raises OSError."""
        worker = WorkerProcess(self._write)
        descriptors: dict[int, Any] = {_INPUT: "w", _OUTPUT: "r", _ERRORS: "r", ANSWERS: "r"}
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            [sys.executable, "-P", "-c", _COMMAND],
            {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            childFDs=descriptors | dict(enumerate(self._sockets, start=INHERITED)),
        )
        return worker
