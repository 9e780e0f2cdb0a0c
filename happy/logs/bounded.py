"""What stands before the places that a log is written to, whichever they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any, Final

from twisted.logger import ILogObserver, LogBeginner, LogEvent, LogLevel, globalLogBeginner
from zope.interface import implementer

from happy.logs.forms import give_form, reopen
from happy.logs.plain import Subject, facts_of, is_idle, level_of, subject_of, summary_of, text_of
from happy.logs.throttle import FULL, REPEATED, LeftOut, Throttle

FOREIGN: Final = "foreign"
"""Why a message is left out: a library says something of no weight, which may quote a client."""

UNWRITTEN: Final = "unwritten"
"""Why a message is left out: it could not be written, for want of room on the disk for example."""

LEVELS: Final = ("debug", "info", "warn", "error")
"""From which level on messages are written."""

_NAMESPACE: Final = "happy.logs"


@implementer(ILogObserver)
class BoundedLog:
    """Writes what may be written, and only so much of it, to ``observers``.

    Every event is composed anew, out of what is safe to write: observers see no more of it than its text,
    its time, its level and its namespace. May be called in any thread.

    ``left_out`` is told of each message that is not written, and why: :data:`REPEATED`, :data:`FULL`,
    :data:`FOREIGN` or :data:`UNWRITTEN`. ``later`` is asked to call something after so many seconds, in
    whatever thread. Until it is ``discreet``, libraries' messages are written with their values: no client
    has been heard yet. ``form`` is one of :data:`happy.logs.forms.FORMATS`.
    """

    def __init__(
        self, level: str = "info", now: Callable[[], float] = time.monotonic, form: str = "text"
    ) -> None:
        self.observers: list[ILogObserver] = []
        self.discreet = False
        self.left_out: Callable[[str], None] = lambda why: None
        self.later: Callable[[float, Callable[[], None]], None] = lambda seconds, call: None
        self._level = LogLevel.lookupByName(level)
        self._form = form
        self._throttle = Throttle(now)
        self._awaited = False
        self._lock = RLock()

    def write_to(self, observers: Iterable[ILogObserver]) -> None:
        """Write to these as well, in the form that was asked for."""
        for observer in observers:
            give_form(observer, self._form)
            self.observers.append(observer)

    def reopen(self) -> None:
        """Go on in files of the same names, if they are files: the former ones were moved away."""
        with self._lock:
            reopen(self.observers)

    def __call__(self, event: LogEvent) -> None:
        """Write an event, or count it."""
        if level_of(event) < self._level:
            return
        with self._lock:
            if self._throttle.over:
                self._turn()
            self._take(event)
            if not self._awaited and not self._throttle.quiet:
                self._awaited = True
                self.later(self._throttle.left, self.tell)

    def pass_on(self, when: float, level: str, namespace: str, text: str) -> None:
        """Write what the log of another process of this server has let through: that one has its bounds."""
        with self._lock:
            self._write(Subject(namespace, level, "", False), when, text)

    def tell(self) -> None:
        """Write now how much was left out, instead of at the end of the minute."""
        with self._lock:
            self._awaited = False
            self._turn()
            if not self._throttle.quiet:
                self._awaited = True
                self.later(self._throttle.left, self.tell)

    def _take(self, event: LogEvent) -> None:
        if self.discreet and is_idle(event):
            self.left_out(FOREIGN)
            return
        trusted = not self.discreet
        subject = subject_of(event, trusted=trusted)
        if not self._throttle.wants(subject):
            self._leave_out(REPEATED, subject, event)
            return
        text = text_of(event, trusted=trusted)
        if not self._throttle.pays(subject, len(text.encode())):
            self._leave_out(FULL, subject, event)
            return
        self._write(subject, event.get("log_time", time.time()), text, facts_of(event))

    def _leave_out(self, why: str, subject: Subject, event: LogEvent) -> None:
        self.left_out(why)
        self._throttle.leave_out(subject, lambda: summary_of(event, trusted=not self.discreet))

    def _turn(self) -> None:
        for left_out in self._throttle.turn():
            subject, text = _summary(left_out)
            self._write(subject, time.time(), text)

    def _write(self, subject: Subject, when: float, text: str, facts: LogEvent | None = None) -> None:
        for observer in self.observers:
            try:
                # Each has one of its own, since some of them add to it.
                observer(_composed(subject, when, text) | (facts or {}))
            except Exception:
                # Told by the next turn that can: to log it would come here again.
                self.left_out(UNWRITTEN)


def stand_before(log: BoundedLog, beginner: LogBeginner = globalLogBeginner) -> Callable[[], None]:
    """Let whatever begins to log in this process do so through ``log``. Answers what undoes it.

    twistd and twist choose where the log goes only after they have made the service, and without asking
    it. They all come by this one method, be it a file, the standard output, the system's log or an
    observer of the operator's.
    """
    begin = beginner.beginLoggingTo

    def begin_bounded(observers: Iterable[ILogObserver], *arguments: Any, **options: Any) -> None:
        log.write_to(observers)
        begin([log], *arguments, **options)

    def undo() -> None:
        beginner.beginLoggingTo = begin  # type: ignore[method-assign]

    beginner.beginLoggingTo = begin_bounded  # type: ignore[method-assign]
    return undo


def _composed(subject: Subject, when: float, text: str) -> LogEvent:
    return {
        "log_time": when,
        "log_namespace": subject.namespace,
        "log_level": LogLevel.lookupByName(subject.level),
        # As a format without values: a log in JSON form would have a value's text three times.
        "log_format": text.replace("{", "{{").replace("}", "}}"),
    }


def _summary(left_out: LeftOut) -> tuple[Subject, str]:
    number, subject, summary = left_out
    times = "once" if number == 1 else f"{number:,} times"
    if subject is None:
        return Subject(_NAMESPACE, "warn", "", False), f"left out {times} in the last minute: other messages"
    # Of failures all are the same; of messages numbers may differ.
    such = "" if number == 1 or subject.failed else ", such as"
    return subject, f"left out {times} in the last minute{such}: {summary}"
