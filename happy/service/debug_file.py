"""The file that the development log sink writes to, with everything else that is logged (http.md 6.18)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from twisted.logger import ILogObserver, LogPublisher, globalLogPublisher, textFileLogObserver
from twisted.python.logfile import LogFile

from happy.base.errors import StartupError
from happy.base.private_folders import make_folder

FOLDER = Path(".logs")
"""Below the working directory."""

FILE_SIZE = 16 * 1024 * 1024
FILES_KEPT = 3


class DebugFile:
    """Copies the log into a file of its own for each start, which only its owner can read.

    Unlike the log itself it has everything as it was said, clients' content too. A file that is full is
    kept under a name with a number, so many times.
    """

    def __init__(self, folder: Path = FOLDER, publisher: LogPublisher = globalLogPublisher) -> None:
        self._folder = folder
        self._publisher = publisher
        self._file: _Escaping
        self._observer: ILogObserver

    def start(self, now: datetime, worker: str = "") -> None:
        """Open the file, named after the time, and begin to copy. Raises StartupError.

        Workers start in the same second, so each has its own name in that of its file.
        """
        name = "-".join([now.strftime("%m-%d-%H-%M-%S"), *([worker] if worker else [])]) + ".log"
        try:
            make_folder(self._folder)
            self._file = _Escaping(
                name,
                str(self._folder),
                rotateLength=FILE_SIZE,
                defaultMode=0o600,
                maxRotatedFiles=FILES_KEPT,
            )
        except OSError as error:
            raise StartupError(f"debug-log: cannot write {self._folder / name}: {error.strerror}") from None
        self._observer = textFileLogObserver(self._file)  # type: ignore[arg-type]
        self._publisher.addObserver(self._observer)

    def stop(self) -> None:
        """Stop copying, and close the file."""
        self._publisher.removeObserver(self._observer)
        self._file.close()


class _Escaping(LogFile):
    """A file for text that need not be Unicode."""

    def write(self, data: str) -> None:
        super().write(data.encode("utf-8", "backslashreplace"))
