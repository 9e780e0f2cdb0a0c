"""PostgreSQL's log lines: to a bounded file, and the grave ones to our log, without anyone's values."""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger
from twisted.python.logfile import LogFile

FILE_SIZE = 1024 * 1024
FILES_KEPT = 3

# As log_line_prefix makes it: time, process, SQLSTATE; then the severity.
_LINE = re.compile(
    r"^(?P<head>.*? \[\d+\] (?P<state>[0-9A-Z]{5}) )?(?P<severity>[A-Z]+[0-9]?):  (?P<text>.*)$"
)
_INITDB = re.compile(r"^(?:initdb: error:|.* \.\.\. .*\bFATAL: ) (.*)$")
"""What initdb says of its own failure, or a server that it runs for one of its steps."""
_GRAVE = frozenset({"WARNING", "FATAL", "PANIC"})
_KEPT = _GRAVE | {"LOG"}
# What every session hears when the server starts or stops.
_ROUTINE = frozenset({"57P01", "57P02", "57P03"})
# What each attempt to connect hears meanwhile: a thousand lines would push out those that say why.
_NOT_YET = "57P03"


class Line(NamedTuple):
    """A line as it may be kept. ``severity`` is empty for a continuation or foreign output."""

    text: str
    severity: str
    sqlstate: str


def clean(line: str) -> Line | None:
    """A line without what clients sent: errors keep their SQLSTATE only. None: leave the line out.

    An error's text quotes the value it is about; its further lines have no prefix or start with a tab.
    """
    match = _LINE.match(line)
    if match is None:
        return None if line.startswith("\t") else Line(line, "", "")
    severity, state = match["severity"], match["state"] or ""
    if severity in _KEPT:
        return Line(line, severity, state)
    if severity == "ERROR":
        return Line(f"{match['head'] or ''}ERROR", severity, state)
    return None


class LogSink:
    """Where a running PostgreSQL's lines go. ``recent`` and ``fatal_state`` explain why it ended."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: LogFile | None = None
        self._wanted = False
        self.begin()

    def open(self) -> None:
        """Open the file, to append. Raises OSError."""
        self._wanted = True
        name, folder = self._path.name, str(self._path.parent)
        self._file = LogFile(
            name, folder, rotateLength=FILE_SIZE, maxRotatedFiles=FILES_KEPT, defaultMode=0o600
        )

    def close(self) -> None:
        """Close the file; lines that still come are kept in memory alone."""
        self._wanted = False
        self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        with suppress(Exception):
            if file is not None:
                file.close()

    def begin(self) -> None:
        """Forget what the previous process said."""
        self.recent: deque[str] = deque(maxlen=5)
        self.fatal_state = ""
        self._fatal = ""

    def line(self, raw: str) -> None:
        """Take one line."""
        if (line := clean(raw)) is None or line.sqlstate == _NOT_YET:
            return
        if self._wanted:
            self._write(line.text)
        self.recent.append(line.text)
        if match := _INITDB.match(line.text):
            self._fatal = match[1]
        if line.severity not in _GRAVE or line.sqlstate in _ROUTINE:
            return
        what = f"{line.severity} {line.sqlstate}"
        self._log.warn("PostgreSQL: {line}", line=line.text, what=what)
        if line.severity != "WARNING":
            self.fatal_state = line.sqlstate
            self._fatal = line.text.partition(f"{line.severity}:  ")[2]

    def _write(self, text: str) -> None:
        """A full disk is what PostgreSQL complains about, and then there is no room for the complaint.

        A file that could not be written or turned over is in no known state, so the next line gets a new one.
        """
        try:
            if self._file is None:
                self.open()
            assert self._file is not None
            self._file.write(text + "\n")
        except Exception:  # whatever it is, PostgreSQL must not lack its reader for it
            self._let_go()

    def reason(self) -> str:
        """Why the process ended, in its own words."""
        return self._fatal or (self.recent[-1] if self.recent else "it said nothing")
