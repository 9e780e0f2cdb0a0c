"""A service that floods the log in every way, for every way in which twistd and twist can log, and ends."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python import log as former
from twisted.python import usage
from zope.interface import implementer

from happy.logs.beside import listen_beside
from happy.logs.bounded import BoundedLog, stand_before

SECRET = "what only the client knows"
TIMES = 500
REMOVED = "FLOOD_REMOVES"
"""Environment variable with the name of a file that is removed before the flood."""


class Options(usage.Options):
    """There are none."""


def makeService(options: Options) -> Service:
    """As the server's own, with a flood in the place of the server."""
    bounded = BoundedLog()
    stand_before(bounded)
    return Flood(bounded)


@implementer(ILogObserver)
class Observer:
    """An operator's own, for ``twistd --logger``: writes formats and fields to the standard error."""

    def __call__(self, event: LogEvent) -> None:
        assert sys.__stderr__ is not None
        sys.__stderr__.write(f"{event}\n")


class Flood(Service):
    """Logs much, and stops the reactor."""

    def __init__(self, bounded: BoundedLog) -> None:
        self._bounded = bounded

    def startService(self) -> None:
        from twisted.internet import reactor

        super().startService()
        reactor.callWhenRunning(self._flood, reactor)  # type: ignore[attr-defined]

    def _flood(self, reactor: Any) -> None:
        self._bounded.discreet = True
        listen_beside()
        if REMOVED in os.environ:
            Path(os.environ[REMOVED]).unlink()
        for _ in range(TIMES):
            flood_once()
        self._bounded.tell()
        reactor.stop()


def flood_once() -> None:
    """One message of each kind."""
    library = Logger("twisted.web.http")
    for level in LogLevel.iterconstants():
        library.emit(level, "Timing out {peer}", peer=SECRET)
    former.msg(SECRET)
    former.err(ValueError(SECRET), SECRET)
    Deferred.fromCoroutine(_fail())
    warnings.warn(SECRET, stacklevel=2)
    logging.getLogger("library").error(SECRET)
    sys.stdout.write(f"{SECRET}\n")
    sys.stderr.write(f"{SECRET}\n")
    library.failure("{peer} failed", _failure(), peer=SECRET)


async def _fail() -> None:
    raise KeyError(SECRET)


def _failure() -> Any:
    from twisted.python.failure import Failure

    try:
        raise IndexError(SECRET)
    except IndexError:
        return Failure()
