"""What a worker runs: the server once more, in a process that its parent made and watches.

Its log and what becomes of its start go to the parent. When the parent is gone, it stops.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from msgspec import Struct
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.logs.beside import log_the_end
from happy.logs.bounded import BoundedLog
from happy.metrics import Metrics
from happy.service.composition import Running
from happy.tap import HappyService
from happy.workers.talk import ANSWERS, Alive, Failed, Logged, Serving, encode, read_brief
from happy.workers.watch import LOOK_SECONDS

_INPUT = 0


class Answering:
    """What is told to the parent. What it does not take is lost: nobody waits for one that stands still."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._torn = False

    def tell(self, answer: Struct) -> None:
        """Send it. Raises OSError if that cannot be."""
        line = encode(answer) + b"\n"
        if self._torn:  # of a line too long for what room there was: what follows is not to be lost with it
            line = b"\n" + line
        self._torn = os.write(self._descriptor, line) < len(line)


@implementer(ILogObserver)
class ToParent:
    """Lets the parent write the log."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def __call__(self, event: LogEvent) -> None:
        """Send an event, which is composed already. Raises OSError, which :class:`BoundedLog` counts."""
        level, namespace = event["log_level"].name, event["log_namespace"]
        self._answering.tell(Logged(event["log_time"], level, namespace, formatEvent(event)))


class Parent:
    """Waits for what comes of the start (:class:`happy.tap.Starter`)."""

    has_the_log = False

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def serves(self) -> None:
        """All is well. Raises OSError if that cannot be told: another worker takes the place then."""
        self._answering.tell(Serving())

    def fails(self, reason: str) -> None:
        """The worker does not start, for a reason that is one line; its end says so as well."""
        with suppress(OSError):
            self._answering.tell(Failed(reason))


class SignsOfLife:
    """Tells the parent again and again that the reactor turns."""

    def __init__(self, answering: Answering, clock: IReactorTime) -> None:
        self._answering = answering
        self._clock = clock

    def beat(self) -> None:
        """Say so now, and every second from now on."""
        self._clock.callLater(LOOK_SECONDS, self.beat)
        with suppress(OSError):  # A parent that takes nothing now has other worries, or is gone.
            self._answering.tell(Alive())


@implementer(IReadDescriptor)
class Lifeline:
    """The standard input: its end is the parent's."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def fileno(self) -> int:
        """The descriptor."""
        return _INPUT

    def doRead(self) -> Failure | None:
        """Nothing comes but the end."""
        return None if os.read(_INPUT, 1) else Failure(CONNECTION_DONE)

    def connectionLost(self, reason: object) -> None:
        """The parent is gone, unless the reactor stops already."""
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def logPrefix(self) -> str:
        """As every descriptor has one."""
        return "parent"


def main() -> None:
    """Serve, until the parent says otherwise or is gone."""
    with suppress(OSError):
        os.setsid()  # Ctrl-C in a terminal is for the parent
    with open(_INPUT, "rb", buffering=0, closefd=False) as told:
        try:
            brief = read_brief(told)
        except EOFError:
            return  # it was never needed
    answering = Answering(ANSWERS)
    bounded = BoundedLog(brief.config.log_level)
    bounded.observers.append(ToParent(answering))
    globalLogBeginner.beginLoggingTo([bounded], redirectStandardIO=False)
    log_the_end()

    from twisted.internet import reactor as installed

    reactor: Any = installed

    metrics = Metrics()
    running = Running(brief.config, reactor, metrics=metrics, place=brief.place)
    service = HappyService(running, reactor, bounded, metrics, Parent(answering))
    reactor.addReader(Lifeline(reactor))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    reactor.callWhenRunning(SignsOfLife(answering, reactor).beat)
    reactor.run()
