"""The composition root of ``twistd happy`` and ``twist happy``.

Constructing the service forks nothing, opens nothing and reads no file: twistd may daemonise after it.
A start that fails says why in one line and ends the process with exit code 1; the second signal to stop
ends it at once, and the tenth second after the first one in any case.
"""

from __future__ import annotations

import atexit
import gc
import os
import platform
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, Protocol

from twisted import copyright
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from happy import __version__
from happy.base.clocks import follow_monotonic_time
from happy.base.errors import DatabaseDown, Overloaded, QueryFailed, StartupError
from happy.base.redaction import describe_fault
from happy.base.waiting import within
from happy.logs.beside import listen_beside, log_the_end
from happy.logs.bounded import BoundedLog, stand_before
from happy.metrics import Metrics
from happy.service.background import Terminal
from happy.service.composition import Running
from happy.service.lifecycle import STOP_SECONDS
from happy.service.signals import mind_signals
from happy.settings.command_line import Options
from happy.settings.config import Config
from happy.workers.parent import WorkersRunning

__all__ = ["HappyService", "Options", "makeService"]

_FOR_THE_START = 0.4
"""Seconds that a start under way has to end, once everything that it had started is stopped."""
_FOR_THE_PROCESS = 0.8
"""Seconds between the latest end of a stop and the end of the process, whatever still runs in it."""


def makeService(options: Options) -> Service:
    """The service that the command line asks for. Whatever is logged from now on is bounded."""
    from twisted.internet import reactor

    bounded = BoundedLog(options.config.log_level, form=options.config.log_format)
    stand_before(bounded)
    log_the_end()
    # Kept by Twisted until the log begins, and then its first line.
    HappyService.log.info(
        "Happy server {version} on Python {python} and Twisted {twisted}",
        version=__version__,
        python=platform.python_version(),
        twisted=copyright.version,
    )
    if not options.config.shortcuts:
        HappyService.log.warn("HAPPY_SHORTCUTS is off, which makes this server slower")
    metrics = Metrics()
    parts = _parts(options.config, reactor, metrics, bounded)
    terminal = Terminal(options.parent, log_is_plain=options.config.log_format == "text")
    return HappyService(parts, reactor, bounded, metrics, terminal)


def _parts(config: Config, reactor: Any, metrics: Metrics, bounded: BoundedLog) -> Parts:
    """The server in this process, or what keeps several that are it."""
    if config.workers > 1:
        return WorkersRunning(config, reactor, metrics, config.workers, bounded)
    return Running(config, reactor, metrics=metrics)


class Parts(Protocol):
    """What is started and stopped as a whole."""

    async def start(self) -> None:
        """Start everything. Raises StartupError with a line, or CancelledError when it is to stop."""

    async def stop(self) -> None:
        """Stop everything; a start under way ends."""

    def reopen(self) -> None:
        """Open files again that somebody may have put in the place of others."""


class Starter(Protocol):
    """Whoever waits for what comes of a start."""

    has_the_log: bool
    """Whether the log reaches the same readers as :meth:`fails`."""

    def serves(self) -> None:
        """All is well."""

    def fails(self, reason: str) -> None:
        """The server does not start, for a reason that is one line."""


class HappyService(Service):
    """The whole server as one service; its ``starter`` is told what comes of the start."""

    name = "happy"
    log = Logger()

    def __init__(
        self, parts: Parts, reactor: Any, bounded: BoundedLog, metrics: Metrics, starter: Starter
    ) -> None:
        self._starter = starter
        self._reactor = reactor
        self._bounded = bounded
        self._metrics = metrics
        self._parts = parts
        self._starting: Deferred[None] | None = None

    def startService(self) -> None:
        """Start once the reactor runs, so that signals and children are handled."""
        super().startService()
        follow_monotonic_time(self._reactor)
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        _spare_the_collector()
        _stop_at_a_signal(self._reactor)
        mind_signals(self._reactor, self._hung_up)
        self._mind_the_log()
        self._starting = Deferred.fromCoroutine(self._parts.start())
        self._starting.addCallback(lambda _: self._starter.serves()).addErrback(self._failed)

    def _mind_the_log(self) -> None:
        """Tell of what is left out, and name nothing any more that may be a client's."""
        bounded, reactor = self._bounded, self._reactor
        left_out = self._metrics.happy_log_suppressed_total
        bounded.left_out = lambda why: left_out.labels(why).inc()
        bounded.later = lambda seconds, call: reactor.callFromThread(reactor.callLater, seconds, call)
        bounded.discreet = True
        listen_beside()

    def _hung_up(self) -> None:
        """Somebody moved files, and wants new ones to be used."""
        self._bounded.reopen()
        self._parts.reopen()
        self.log.info("Files are opened again, as SIGHUP asks for")

    def _failed(self, failure: Any) -> None:
        if not self.running:
            return  # A stop ended it, and what it was about to ask for was not there any more.
        reason = _told(failure.value)
        if not self._starter.has_the_log:
            self.log.critical("Cannot start: {reason}", reason=reason)
        self._starter.fails(reason)
        exit_with(1)
        _end_in_time()
        _stop(self._reactor)

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when everything is stored and PostgreSQL has stopped."""
        super().stopService()
        if self._reactor.running:
            _end_at_the_next_signal()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.log.info("Stopping")
        await self._parts.stop()
        if self._starting is not None:
            with suppress(TimeoutError):
                await within(_FOR_THE_START, self._starting, self._reactor)
        self._bounded.tell()


def _told(error: BaseException) -> str:
    """Why a start failed, in a line; of what nobody expects, where it was."""
    if isinstance(error, StartupError):
        return str(error)
    if isinstance(error, DatabaseDown | Overloaded | QueryFailed):
        return f"the database cannot be used: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return describe_fault(error)


def exit_with(status: int) -> None:
    """Give the process this exit status at its regular end: twistd has no way to ask for one."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)


def _stop_at_a_signal(reactor: Any) -> None:
    """Let a signal end the reactor in order, with exit status 0; twistd would end by the signal itself."""

    def stop(received: int, frame: object) -> None:
        _end_at_the_next_signal()
        _end_in_time()
        reactor.callFromThread(_stop, reactor)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _stop(reactor: Any) -> None:
    """Stop the reactor, unless somebody else has."""
    with suppress(ReactorNotRunning):
        reactor.stop()


def _end_at_the_next_signal() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: os._exit(128 + received))


def _end_in_time() -> None:
    """End the process although something in it goes on, such as a thread that asks for a name."""

    def leave() -> None:
        os.write(2, b"happy: ended, although not everything in the process was over\n")
        os._exit(1)

    timer = threading.Timer(STOP_SECONDS + _FOR_THE_PROCESS, leave)
    timer.daemon = True
    timer.start()


def _spare_the_collector() -> None:
    """Let Python look for reference cycles seldom, and at few objects at a time.

    Each connection is some sixty objects that live long; with Python's own thresholds a storm of ten thousand
    connections spends a quarter of its CPU on walking through those that are already there. What is new is
    looked at in two passes over at most 5,000 objects, up to a microsecond each, and everything only after a
    hundred million more: a pass over a million new ones would be a stall of a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 4, 25_000)
