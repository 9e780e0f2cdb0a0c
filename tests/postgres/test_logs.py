"""What may be kept of PostgreSQL's log lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from twisted.logger import globalLogPublisher
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from happy.postgres import logs
from happy.postgres.logs import LogSink, clean

HEAD = "2026-11-23 08:00:00.123 UTC [42] "


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (f"{HEAD}00000 LOG:  database system is ready", f"{HEAD}00000 LOG:  database system is ready"),
        (
            f"{HEAD}01000 WARNING:  page verification failed",
            f"{HEAD}01000 WARNING:  page verification failed",
        ),
        (f'{HEAD}23505 ERROR:  duplicate key "secret"', f"{HEAD}23505 ERROR"),
        (f"{HEAD}23505 DETAIL:  Key (tag)=(secret) already exists.", None),
        (f"{HEAD}23505 STATEMENT:  SELECT 'secret'", None),
        (f"{HEAD}00000 CONTEXT:  secret", None),
        ("\tsecret second line of a message", None),
        ("creating configuration files ... ok", "creating configuration files ... ok"),
        ("FATAL:  cannot prepare", "FATAL:  cannot prepare"),
    ],
)
def test_lines(raw: str, kept: str | None) -> None:
    """Severities that may quote values lose their text; continuations of messages are left out."""
    line = clean(raw)
    assert (line.text if line else None) == kept
    assert kept is None or "secret" not in kept


write = LogFile.write


def break_off(file: LogFile, text: str) -> None:
    """Fail as a file does that could not be turned over."""
    raise ValueError("write to closed file")


class SinkTests(SynchronousTestCase):
    """The file, our log, and the reason of an end."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "postgres.log")
        self.sink = LogSink(self.path)
        self.said: list[str] = []

    def listen(self) -> None:
        def observe(event: dict[str, str]) -> None:
            if "line" in event:
                self.said.append(event["line"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def test_grave_lines_reach_our_log(self) -> None:
        """Warnings and worse are said in our log, routine ends of sessions and errors are not."""
        self.listen()
        self.sink.line(f"{HEAD}00000 LOG:  starting")
        self.sink.line(f"{HEAD}22P02 ERROR:  invalid input")
        self.sink.line(f"{HEAD}57P01 FATAL:  terminating connection")
        self.sink.line(f"{HEAD}57P03 FATAL:  the database system is starting up")
        self.sink.line(f"{HEAD}01000 WARNING:  page verification failed")
        self.assertEqual(self.said, [f"{HEAD}01000 WARNING:  page verification failed"])

    def test_attempts_are_not_kept(self) -> None:
        """Clients that press while the database starts fill neither the log nor the file."""
        self.sink.open()
        self.sink.line(f"{HEAD}00000 LOG:  database system was interrupted")
        for _ in range(1000):
            self.sink.line(f"{HEAD}57P03 FATAL:  the database system is starting up")
        self.sink.close()
        self.assertEqual(self.path.read_text().count("\n"), 1)
        self.assertIn("interrupted", self.sink.reason())

    def test_reason(self) -> None:
        """An end is explained by the last fatal line, else by the last line."""
        self.assertEqual(self.sink.reason(), "it said nothing")
        self.sink.line("loading libraries")
        self.assertEqual(self.sink.reason(), "loading libraries")
        self.sink.line(f'{HEAD}F0001 FATAL:  lock file "postmaster.pid" already exists')
        self.sink.line(f"{HEAD}00000 LOG:  database system is shut down")
        self.assertEqual(self.sink.reason(), 'lock file "postmaster.pid" already exists')
        self.assertEqual(self.sink.fatal_state, "F0001")
        self.sink.begin()
        self.assertEqual((self.sink.reason(), self.sink.fatal_state), ("it said nothing", ""))

    def test_reason_of_initdb(self) -> None:
        """initdb says what went wrong before it cleans up."""
        self.sink.line('initdb: error: could not create directory "x": No space left on device')
        self.sink.line('initdb: removing contents of data directory "x"')
        self.assertIn("could not create directory", self.sink.reason())
        self.sink.begin()
        self.sink.line(
            "running bootstrap script ... 2026-11-30 05:19:52.778 UTC [2] FATAL:  could not extend file"
        )
        self.sink.line("2026-11-30 05:19:52.778 UTC [2] PANIC:  cannot abort transaction 1")
        self.assertEqual(self.sink.reason(), "could not extend file")
        self.sink.begin()
        self.sink.line('initdb: error: could not create directory "x": No space left on device')
        self.assertEqual(self.sink.reason(), 'could not create directory "x": No space left on device')

    def test_a_file_that_breaks(self) -> None:
        """A line that cannot be written is lost, whatever the reason; the next one opens the file again."""
        self.sink.open()
        self.patch(LogFile, "write", break_off)
        self.sink.line("lost")
        away = self.path.with_name("away")
        away.mkdir()
        self.path.rename(away / "first")
        self.path.mkdir()  # in the way
        self.sink.line("lost too")
        self.path.rmdir()
        self.patch(LogFile, "write", write)
        self.sink.line("after")
        self.sink.close()
        self.sink.line("too late")
        self.assertEqual(self.path.read_text(), "after\n")

    def test_the_file_is_bounded_and_private(self) -> None:
        """A file that is full is kept a few times, and nobody else reads it."""
        self.patch(logs, "FILE_SIZE", 100)
        self.sink.open()
        for number in range(50):
            self.sink.line(f"line {number} of some length")
        self.sink.close()
        files = sorted(path.name for path in self.path.parent.iterdir())
        self.assertEqual(files, ["postgres.log", "postgres.log.1", "postgres.log.2", "postgres.log.3"])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertIn("line 49", self.path.read_text())
