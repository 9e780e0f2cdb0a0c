"""The workers of a server, as many as there are to be: one that ends is replaced."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.errors import StartupError
from happy.workers.watch import LOOK_SECONDS, MOST_SILENT, Watch

if TYPE_CHECKING:
    from happy.workers.process import Spawning, WorkerProcess
    from happy.workers.talk import Brief

LONG_LIFE: Final = 1.0
"""Seconds of serving after which an end says nothing about the next start."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_KILL_BEFORE: Final = 0.3
"""Seconds before the end of a stop in which what still runs is killed."""


class Spare:
    """A process that has loaded the program and waits: the next worker need not load it first."""

    def __init__(self, spawning: Spawning) -> None:
        self._spawning = spawning
        self._process: WorkerProcess | None = None
        self._starting = 0
        self._stopped = False

    def take(self) -> WorkerProcess:
        """A process to be told what it is. Another one is made as soon as this one serves. Raises OSError."""
        taken = self._ready() or self._spawning.spawn()
        self._process = None
        self._starting += 1
        taken.serving.addBoth(self._started)
        return taken

    def _ready(self) -> WorkerProcess | None:
        """The one that waits, if it still does."""
        process = self._process
        if process is None or process.running:
            return process
        process.serving.addErrback(_unneeded)
        return None

    def _started(self, outcome: None | Failure) -> None | Failure:
        """Make one only now: nobody who is waited for shares the processor with it."""
        self._starting -= 1
        if not (self._starting or self._stopped or self._ready()):
            with suppress(OSError):  # then the next worker starts from the beginning
                self._process = self._spawning.spawn()
        return outcome

    def stop(self) -> None:
        """End it, and make no other."""
        self._stopped = True
        if self._process is not None:
            self._process.serving.addErrback(_unneeded)
            self._process.send(signal.SIGKILL)


class Worker:
    """One of the places, and the process that fills it. ``replaced`` is called at each further one."""

    _log = Logger()

    def __init__(self, reactor: Any, brief: Brief, spare: Spare, replaced: Callable[[], None]) -> None:
        self.name = brief.place.name
        self._reactor = reactor
        self._brief = brief
        self._spare = spare
        self._replaced = replaced
        self._process: WorkerProcess | None = None
        self._serves_since: float | None = None
        self._silent = 0
        self._pause = 0.0
        self._keeping: Deferred[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process's id, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def serves(self) -> bool:
        """Whether the process that is there now takes clients."""
        return self._serves_since is not None

    async def start(self) -> None:
        """Start it; done when it serves. Raises StartupError with its reason."""
        try:
            process = self._fill()
            await process.serving
        except RuntimeError as error:
            raise StartupError(str(error)) from None
        except OSError as error:
            raise StartupError(f"{self.name} cannot be started: {error.strerror}") from None
        self._brief = replace(self._brief, place=replace(self._brief.place, replaces=True))
        self._keeping = Deferred.fromCoroutine(self._keep(process))
        self._keeping.addErrback(_no_longer)

    def _fill(self) -> WorkerProcess:
        self._serves_since = None
        self._silent = 0
        self._process = process = self._spare.take()
        process.serving.addCallback(self._serves)
        process.assign(self._brief)
        return process

    def _serves(self, _: None) -> None:
        self._serves_since = self._reactor.seconds()

    def _has_proved_itself(self) -> bool:
        """Whether it has served for a while."""
        since = self._serves_since
        return since is not None and self._reactor.seconds() - since >= LONG_LIFE

    async def _keep(self, process: WorkerProcess) -> None:
        """Replace it whenever it ends: at once if it has served, later and later if it did not get to it."""
        while True:
            how = await process.ended
            if self._stopping:
                return
            self._log.error("{worker} is replaced after {how}", worker=self.name, how=how)
            if self._has_proved_itself():
                self._pause = 0.0
            await self._rest()
            self._replaced()
            process = await self._fill_at_last()
            process.serving.addErrback(_unneeded)

    async def _fill_at_last(self) -> WorkerProcess:
        """Try to start it again and again: there may be no room for a process at present."""
        while True:
            try:
                return self._fill()
            except OSError as error:
                self._log.error("{worker} cannot be started: {why}", worker=self.name, why=error.strerror)
                await self._rest()

    def _rest(self) -> Deferred[None]:
        """Wait until the next start: later and later."""
        pause, self._pause = self._pause, min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        return deferLater(self._reactor, pause)

    def look(self) -> None:
        """See :class:`happy.workers.watch.Watched`. How long a start may take is for others to say."""
        process = self._process
        if process is None or not process.running or not self.serves or self._stopping:
            return
        self._silent = 0 if process.has_spoken() else self._silent + 1
        if self._silent == MOST_SILENT:
            seconds = round(MOST_SILENT * LOOK_SECONDS)
            text = "{worker} has not gone on for {seconds} s, and is killed"
            self._log.error(text, worker=self.name, seconds=seconds)
            process.send(signal.SIGKILL)

    def drained(self, draining: bool) -> None:
        """Let those who come after it take no sockets, or take them again."""
        self._brief = replace(self._brief, place=replace(self._brief.place, draining=draining))

    def hang_up(self) -> None:
        """Let it open its files again, if it is there."""
        if self._process is not None and self._process.running:
            self._process.send(signal.SIGHUP)

    async def stop(self, seconds: float) -> None:
        """Ask it to stop, and kill it if it has not within so many seconds."""
        self._stopping = True
        process = self._process
        if process is None or not process.running:
            if self._keeping is not None:
                self._keeping.cancel()
            return
        gone: Deferred[None] = Deferred()
        process.ended.addCallback(_tell_too, gone)
        process.send(signal.SIGTERM)
        timer = self._reactor.callLater(max(0.0, seconds - _KILL_BEFORE), process.send, signal.SIGKILL)
        await gone
        if timer.active():
            timer.cancel()
        else:
            self._log.error("{worker} did not stop in time, and was killed", worker=self.name)


class WorkerPool:
    """Workers that are started and stopped together."""

    def __init__(self, reactor: Any, workers: Sequence[Worker], spare: Spare) -> None:
        self.workers = workers
        self._spare = spare
        self._watch = Watch(reactor, workers)

    async def start(self) -> None:
        """Start all of them; done when all serve. Raises StartupError with the reason of one that cannot."""
        starting = [Deferred.fromCoroutine(worker.start()) for worker in self.workers]
        try:
            await gatherResults(starting, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        self._watch.start()

    def drained(self, draining: bool) -> None:
        """Let whoever replaces one of them take no sockets, or take them again."""
        for worker in self.workers:
            worker.drained(draining)

    async def stop(self, seconds: float) -> None:
        """Stop all of them within so many seconds."""
        self._watch.stop()
        self._spare.stop()
        await gatherResults([Deferred.fromCoroutine(worker.stop(seconds)) for worker in self.workers])


def _tell_too(how: str, gone: Deferred[None]) -> str:
    gone.callback(None)
    return how


def _no_longer(failure: Failure) -> None:
    """Nobody keeps a worker that is stopped while it is about to be replaced."""
    failure.trap(CancelledError)


def _unneeded(failure: Failure) -> None:
    """Its end is noticed otherwise."""
    failure.trap(RuntimeError)
