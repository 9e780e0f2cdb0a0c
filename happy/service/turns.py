"""What a turn of the reactor adds up to: one write for each connection, when the turn is over.

A server answers one client while another's request has been read already. Writing in between wakes the
first client's process for a single packet, which costs more than everything else about the packet; writing
at the end of the turn wakes it once, and gathers what goes to one socket.

:class:`Turns` collects the connections that have something to write. By itself it uses a timer without
delay. :func:`poll_directly` replaces the polling of Twisted's epoll reactor by one that also ends the turn,
and that reads from eager connections without the layers that keep a logging context for each event; those
would prefix messages with the client's address. ``tests/test_private_names.py`` has what is used of the
reactor although it is Twisted's alone.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Collection
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger
from twisted.python import log

from happy.base.pace import TURN_SECONDS
from happy.service.ready_events import FEW, MOST_READY, ReadyEvents

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.base.pace import Pace

MOST_EVENTS: Final = 64
"""Connections that are read from or written to in a turn."""

MOST_SECONDS: Final = 0.01
"""After so long in a turn, those who have not been read from or written to are the next turn's first."""

MOST_WAITING: Final = 64
"""Connections that may wait for the end of a turn; a turn with more of them writes in between."""

LONG: Final = 0.005
"""Seconds from which on a turn is told of."""

_READABLE: Final[int] = select.EPOLLIN

_log = Logger()


class TurnWriter(Protocol):
    """A connection that holds something back."""

    def flush(self) -> None:
        """Write what was held back."""


class Turns:
    """The connections that write when the reactor's turn ends."""

    __slots__ = ("_clock", "ended_by_reactor", "ending", "waiting")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.waiting: list[TurnWriter] = []
        self.ended_by_reactor = False
        """Whether the reactor calls :meth:`end`; if not, a timer does."""
        self.ending = 0
        """Connections that wait until there is time for their end."""

    def add(self, writer: TurnWriter) -> None:
        """Flush ``writer`` at the end of this turn, or before."""
        waiting = self.waiting
        if not (waiting or self.ended_by_reactor):
            self._clock.callLater(0, self.end)
        waiting.append(writer)
        if len(waiting) >= MOST_WAITING:
            self.end()

    def end(self) -> None:
        """Flush everything that waits."""
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for writer in waiting:
                try:
                    writer.flush()
                except Exception:
                    # Whatever is wrong with one must not keep back what is meant for others.
                    _log.failure("Writing at the end of a turn failed")


def poll_directly(
    reactor: Any,
    turns: Turns,
    kinds: Collection[type[Any]],
    pace: Pace,
    took: Callable[[float], None] = lambda seconds: None,
) -> Callable[[], None]:
    """Let an epoll reactor end turns, and read at once from connections of exactly these ``kinds``.

    ``pace`` is told when a turn begins, and when it is not young any more. ``took`` is told of each turn of
    :data:`LONG` seconds or more, timers included: so long nobody was heard. Other reactors stay as they are,
    and so does one where this is in force already. Answers what undoes it.
    """
    known = type(reactor) is EPollReactor and "doIteration" not in vars(reactor)
    if not known:
        return lambda: None
    reactor.doIteration = _direct_poll(reactor, turns, kinds, pace, took)
    turns.ended_by_reactor = pace.told = True

    def undo() -> None:
        del reactor.doIteration
        turns.ended_by_reactor = pace.told = False
        pace.late = True
        turns.end()

    return undo


# A turn serves few connections where few are busy, so what it costs by itself counts: what is not needed then
# is asked for here, and not where it is done, and nothing is a function of its own.
def _direct_poll(
    reactor: Any, turns: Turns, kinds: Collection[type[Any]], pace: Pace, took: Callable[[float], None]
) -> Callable[[float | None], None]:
    began, selectables = monotonic(), reactor._selectables
    ready = ReadyEvents(selectables)

    def poll(timeout: float | None) -> None:
        nonlocal began
        if turns.waiting:
            turns.end()
        spent = monotonic() - began
        if spent >= LONG:
            took(spent)
        events = reactor._poller.poll(-1 if timeout is None else timeout, FEW)
        number = len(events)
        if number == FEW:
            events = reactor._poller.poll(0, MOST_READY)
            number = len(events)
        began = monotonic()
        pace.until = young = began + TURN_SECONDS
        pace.late = False
        if ready.left or number > FEW:
            events = ready.order(events)
        served, most, end = 0, min(number, MOST_EVENTS), began + MOST_SECONDS
        for descriptor, event in events:
            selectable = selectables.get(descriptor)
            if event == _READABLE and type(selectable) in kinds:
                _read(reactor, selectable)
            elif selectable is not None:
                log.callWithLogger(selectable, reactor._doReadOrWrite, selectable, descriptor, event)
            served += 1
            if served == most or (now := monotonic()) > end:
                break
            pace.late = now >= young
        if ready.left or served < number:
            ready.served(events, served)
        if turns.waiting:
            turns.end()

    return poll


def _read(reactor: Any, selectable: Any) -> None:
    """As the reactor does it: what a protocol raises is logged, and ends its connection."""
    why: BaseException | None
    try:
        why = selectable.doRead()
    except BaseException as error:
        # Not by Twisted's former way, which writes the traceback's text whether it is wanted or not.
        _log.failure("Reading from a connection failed")
        why = error
    if why:
        reactor._disconnectSelectable(selectable, why, True)
