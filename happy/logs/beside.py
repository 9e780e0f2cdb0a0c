"""What is said beside Twisted's log, and brought into it: without values, as all that libraries say."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Final

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from happy.base.redaction import describe_fault

_GRAVE: Final = {logging.ERROR: LogLevel.error, logging.CRITICAL: LogLevel.error}

_log = Logger()


def listen_beside() -> None:
    """Log what Python would print: errors that nobody can catch, and what libraries tell ``logging``.

    It stays that way until the process ends.
    """
    sys.unraisablehook = _unraisable
    threading.excepthook = _ended_thread
    logging.getLogger().addHandler(PlacesOnly())


def log_the_end() -> None:
    """Log the error that ends the process as one message, to whose bounds it is worth a whole traceback.

    Printed, each of its lines would be a message, and the reason, its last one, would be left out as the
    others of the same. It stays that way until the process ends.
    """
    sys.excepthook = _ended


class PlacesOnly(logging.Handler):
    """Logs where in the code something was said to ``logging``, and how grave it is."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Log the place of a record."""
        place = "/".join(record.pathname.replace("\\", "/").split("/")[-2:])
        level = _GRAVE.get(record.levelno, LogLevel.warn)
        _log.emit(level, "A library has something to say at {what}", what=f"{place}:{record.lineno}")


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """An error in a finaliser, or in a callback of the interpreter's."""
    if unraisable.exc_value is not None:
        _log.error("Nobody could catch an error: {fault}", fault=describe_fault(unraisable.exc_value))


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.failure("An unexpected error ends the process", Failure(error, kind, trace))


def _ended_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        _log.error("A thread ended with an error: {fault}", fault=describe_fault(ended.exc_value))
