"""PostgreSQL's own programs that dump and load a database: which of them fit, and how they are run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from psycopg2.extensions import make_dsn

from happy.postgres.binaries import Installation, installations
from happy.postgres.process import Program
from happy.storage.dsn import DatabaseTarget

DUMP, RESTORE, PSQL = "pg_dump", "pg_restore", "psql"
_OF_THE_SHELL = ("PG", "PSQL")
_LONGEST_REASON = 300


class ProgramFailed(Exception):
    """One of the programs did not do its work, or is not there; the message is one line."""


def fitting(major: int, bin_dir: Path | None = None) -> Installation:
    """Programs for a server of this major version: of the same, or else of the next later one that is there.

    pg_dump refuses servers that are newer than itself. Raises ProgramsMissing.
    """
    found = [one for one in installations(bin_dir) if _complete(one)]
    later = sorted((one for one in found if one.major >= major), key=lambda one: one.major)
    if later:
        return later[0]
    there = f"those of PostgreSQL {max(one.major for one in found)}" if found else "none"
    raise ProgramsMissing(
        f"the database is one of PostgreSQL {major}, which takes pg_dump, pg_restore, psql of that version "
        f"or later, and there are {there}; install them, or name their folder in HAPPY_POSTGRES_BIN_DIR"
    )


def _complete(installation: Installation) -> bool:
    return all(os.access(installation.program(name), os.X_OK) for name in (DUMP, RESTORE, PSQL))


class ProgramsMissing(ProgramFailed):
    """There are none that fit; the message says what is needed."""


class PgTool:
    """A program that talks to a database and gives way to servers; it ends with the process that began it."""

    def __init__(
        self,
        installation: Installation,
        name: str,
        arguments: Sequence[str],
        target: DatabaseTarget | None = None,
        *,
        pipe_input: bool = False,
    ) -> None:
        command = [installation.program(name), *arguments]
        self.name = name
        self.process = subprocess.Popen(
            Program(command, None, (), gives_way=True).wrapped(),
            env=_environment(target),
            stdin=subprocess.PIPE if pipe_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def output(self) -> IO[bytes]:
        """What it writes."""
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def input(self) -> IO[bytes]:
        """What it reads."""
        assert self.process.stdin is not None
        return self.process.stdin

    def finish(self) -> None:
        """Wait for its end. Raises ProgramFailed with the first line that it complained with."""
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode("utf-8", "replace")
        if self.process.wait() != 0:
            raise ProgramFailed(f"{self.name}: {_reason(said)}")

    def end(self) -> None:
        """Let it go, whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self.process.wait()


def conninfo(target: DatabaseTarget) -> str:
    """How a program is told of the database, on a command line that everybody may see."""
    shown: str = make_dsn(**{name: value for name, value in target.parameters.items() if name != "password"})
    return shown


def _environment(target: DatabaseTarget | None) -> dict[str, str]:
    """Ours without what a shell says of other databases, with the password that the command line lacks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SHELL)}
    if target is not None and (password := target.parameters.get("password")):
        kept["PGPASSWORD"] = password
    return {**kept, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "happyctl"}


def _reason(said: str) -> str:
    """The first complaint among what a program said."""
    lines = [line for line in said.splitlines() if line.strip()]
    grave = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()]
    first = next(iter(grave or lines), "it ended without a word")
    for mark in ("error: ", "ERROR:  ", "FATAL:  "):
        first = first.rpartition(mark)[2]
    return first[:_LONGEST_REASON]
