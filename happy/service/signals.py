"""What signals do to a server beside stopping it: SIGHUP lets it open files anew, and no other ends it.

A program that wants to tell something to a server of another kind, such as a rotation of logs, may send any.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

_ENDING: Final = (
    *("SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT"),
    *("SIGXCPU", "SIGXFSZ", "SIGPIPE", "SIGEMT", "SIGINFO"),
)
"""Names of those that end a process by default, without that anything is wrong with it. Not all systems have
all of them."""


def mind_signals(reactor: Any, hung_up: Callable[[], None]) -> None:
    """Call ``hung_up`` in the reactor at SIGHUP, and let no signal end the process that need not.

    Whoever has a handler keeps it: twistd begins a new log at SIGUSR1. Children are not concerned, since a
    handler, unlike that a signal is ignored, ends with the program.
    """
    signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(hung_up))
    for number in (*_known(), *_real_time()):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _nothing)


def _known() -> list[int]:
    return [int(getattr(signal, name)) for name in _ENDING if hasattr(signal, name)]


def _real_time() -> range:
    first = getattr(signal, "SIGRTMIN", None)
    return range(0) if first is None else range(int(first), int(signal.SIGRTMAX) + 1)


def _nothing(number: int, frame: object) -> None:
    """Go on."""
