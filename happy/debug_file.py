"""The file that the development log sink writes to, with everything else that is logged (http.md 6.18)."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TextIO

from twisted.logger import ILogObserver, LogPublisher, globalLogPublisher, textFileLogObserver

from happy.errors import StartupError

FOLDER = Path(".logs")
"""Below the working directory."""


class DebugFile:
    """Copies the log into a file of its own for each start, which only its owner can read."""

    def __init__(self, folder: Path = FOLDER, publisher: LogPublisher = globalLogPublisher) -> None:
        self._folder = folder
        self._publisher = publisher
        self._file: TextIO
        self._observer: ILogObserver

    def start(self, now: datetime) -> None:
        """Open the file, named after the time, and begin to copy. Raises StartupError."""
        path = self._folder / now.strftime("%m-%d-%H-%M-%S.log")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartupError(f"debug-log: cannot write {path}: {error.strerror}") from None
        self._file = os.fdopen(number, "a", encoding="utf-8", errors="backslashreplace")
        self._observer = textFileLogObserver(self._file)
        self._publisher.addObserver(self._observer)

    def stop(self) -> None:
        """Stop copying, and close the file."""
        self._publisher.removeObserver(self._observer)
        self._file.close()
