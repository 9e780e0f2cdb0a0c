"""Where faults happen: a server under load, and what can be done to it from outside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from happy.bench import proc
from tests.hostile.scene import Scene
from tests.interposed import Switches
from tests.operated import Operated

SOURCE = "127.0.0.66"
"""Where clients come from that misbehave, or look at what happens."""


@dataclass(frozen=True)
class Stage:
    """Where it happens: ``seconds`` is for what lasts, ``sockets`` for crowds, ``small`` is the data's file
    system, if it is one that can be filled. ``problems`` are what a fault did that it may not do.
    """

    server: Operated
    switches: Switches
    seconds: float
    sockets: int
    small: Path | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def scene(self) -> Scene:
        """The server, as attackers see it."""
        return Scene(self.server.port, SOURCE, self.seconds >= 10, "")

    def expect(self, holds: bool, problem: str) -> None:
        """Write down what does not hold."""
        if not holds:
            self.problems.append(problem)


def postgres_processes(server: Operated) -> list[int]:
    """Every process of a server's PostgreSQL, the first of them first."""
    postmaster = server.postgres
    return [postmaster, *proc.children(postmaster, proc.parents())]


@contextmanager
def small_file_system(folder: Path, megabytes: int) -> Iterator[bool]:
    """A file system of that size in a folder, if this process may make one."""
    folder.mkdir()
    options = f"size={megabytes}m,mode=0755"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    try:
        yield made.returncode == 0
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)
