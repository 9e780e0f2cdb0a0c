"""How a line of the log looks: as text, as JSON, with the journal's priorities; and files that begin anew.

twistd and twist make the observers. Those that write lines into a file are given another form; all others,
such as the system's log or one of the operator's, have forms of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger, formatEvent

from happy.logs.plain import FACTS

FORMATS: Final = ("text", "json")

_PRIORITIES: Final = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
"""Of syslog, by level (sd-daemon(3))."""

_JOURNAL: Final = "JOURNAL_STREAM"
"""Where systemd names the device and inode of the stream into its journal (systemd.exec(5))."""

_log = Logger()


def as_json(event: LogEvent) -> str:
    """One object in a line: ``time`` in ISO 8601, ``level``, ``message``, ``from``, and an event's values."""
    when = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {
        "time": when.replace("+00:00", "Z"),
        "level": event["log_level"].name,
        "message": formatEvent(event),
        "from": event["log_namespace"],
    }
    line |= {name: event[name] for name in FACTS if name in event}
    return msgspec.json.encode(line).decode() + "\n"


def for_journal(form: Callable[[LogEvent], str]) -> Callable[[LogEvent], str]:
    """A form whose lines begin with their priority, which the journal takes off."""

    def lines(event: LogEvent) -> str:
        priority = _PRIORITIES[event["log_level"].name]
        return "".join(f"<{priority}>{line}\n" for line in form(event).splitlines())

    return lines


def without_time(event: LogEvent) -> str:
    """The text alone: the journal knows when."""
    return f"{formatEvent(event)}\n"


def give_form(observer: ILogObserver, form: str, stream: str | None = None) -> None:
    """Let an observer that writes into a file do so in a form; ``stream`` is the journal's, if not ours."""
    if not isinstance(observer, FileLogObserver):
        return
    wanted = os.environ.get(_JOURNAL) if stream is None else stream
    if wanted and _stream_of(observer._outFile) == wanted:
        observer.formatEvent = for_journal(as_json if form == "json" else without_time)
    elif form == "json":
        observer.formatEvent = as_json


def _stream_of(file: Any) -> str | None:
    try:
        found = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return f"{found.st_dev}:{found.st_ino}"


def reopen(observers: Iterable[ILogObserver]) -> None:
    """Let observers that write into files by name go on in files of that name: somebody moved them away."""
    for observer in observers:
        file = observer._outFile if isinstance(observer, FileLogObserver) else None
        path = getattr(file, "path", None) or getattr(file, "name", None)
        if isinstance(path, str) and not path.startswith("<"):
            try:
                _reopen(file, path)
            except OSError as error:
                _log.error("The log cannot be opened again: {reason}", reason=error.strerror)


def _reopen(file: Any, path: str) -> None:
    """Raises OSError, and goes on in the former file, when there can be none of that name."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if hasattr(file, "reopen"):
            file.reopen()
        else:
            os.dup2(number, file.fileno())
    finally:
        os.close(number)
