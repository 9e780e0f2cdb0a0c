"""Running PostgreSQL's programs as children of the server."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from happy.postgres.account import Account, closed_folders, names_library

_CHILD = Path(__file__).with_name("child.py")
# Nothing of the server's environment concerns PostgreSQL; PG* variables would change what it does.
_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TZ")
_LONGEST_LINE = 64 * 1024
_LAST_WORDS = 0.3
"""Seconds that output is waited for after a program's end: what it started may hold its pipes for ever."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command, who runs it, and the folders it needs."""

    command: Sequence[str]
    account: Account | None
    folders: Sequence[Path]
    signal: signal.Signals = signal.SIGINT
    """What the kernel sends to it when the server dies."""
    seem: Account | None = None
    """Whom it is to take itself for, when its own account has no name."""
    gives_way: bool = False
    """Whether others, who need the processor, come before it."""

    def wrapped(self) -> list[str]:
        """The command that becomes this one in the right process and under the right account."""
        options = {
            "parent": os.getpid(),
            "signal": int(self.signal),
            "uid": self.account and self.account.uid,
            "gid": self.account and self.account.gid,
            "seem": self.seem and (self.seem.uid, self.seem.gid),
            "names": self.seem and names_library(),
            "gives_way": self.gives_way,
            "reach": self._reach(),
        }
        return [sys.executable, "-I", "-S", str(_CHILD), json.dumps(options), *self.command]

    def _reach(self) -> list[tuple[str, str]]:
        if self.account is None:
            return []
        closed = {closed_folders(folder.resolve(), self.account) for folder in self.folders}
        return sorted((str(pair[0]), str(pair[1])) for pair in closed if pair)


class Child(ProcessProtocol):
    """A running program. ``ended`` fires after its exit with None, or with a description of a failure."""

    def __init__(self, clock: IReactorTime, line: Callable[[str], None]) -> None:
        self.ended: Deferred[str | None] = Deferred()
        self.running = True
        self.pid = 0
        self._clock = clock
        self._line = line
        self._buffer = b""
        self._patience: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """The process exists."""
        self.pid = self.transport.pid  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        """Standard output is a log like standard error."""
        self.errReceived(data)

    def errReceived(self, data: bytes) -> None:
        """Hand complete lines on; of a line without an end only the beginning is kept."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "replace"))
        self._buffer = self._buffer[:_LONGEST_LINE]

    def processExited(self, reason: Failure) -> None:
        """The process is gone; what it said may still be on its way."""
        self.running = False
        self._patience = self._clock.callLater(_LAST_WORDS, self._over, reason)

    def processEnded(self, reason: Failure) -> None:
        """The process is gone and its output is complete."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
            self._over(reason)

    def _over(self, reason: Failure) -> None:
        if self._buffer:
            self._line(self._buffer.decode("utf-8", "replace"))
        clean = reason.check(ProcessDone) is not None
        self.ended.callback(None if clean else reason.getErrorMessage())

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it is still there."""
        try:
            self.transport.signalProcess(number)  # type: ignore[union-attr]
        except ProcessExitedAlready:
            self.running = False


def spawn(reactor: Any, program: Program, line: Callable[[str], None]) -> Child:
    """Start a program; ``line`` gets each line that it writes. Raises OSError."""
    child = Child(reactor, line)
    arguments = program.wrapped()
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # Messages in English, because severities are looked for.
    environment["LC_ALL"] = "C"
    reactor.spawnProcess(child, arguments[0], arguments, environment, path="/")
    return child
