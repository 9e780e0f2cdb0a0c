"""What may happen to a server: each of these does it, and returns when it is over."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from happy.bench import proc
from tests.faults.crowds import send_garbage, stop_reading
from tests.operated import Operated

_STEP = 0.05
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stage:
    """Where it happens: ``seconds`` is for what lasts, ``sockets`` for crowds, ``small`` is the data's file
    system, if it is one that can be filled.
    """

    server: Operated
    seconds: float
    sockets: int
    small: Path | None = None


def kill_postgres(stage: Stage) -> str:
    """Every process of PostgreSQL dies at once; the server starts it again."""
    postmaster = stage.server.postgres
    for pid in [postmaster, *proc.children(postmaster, proc.parents())]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return "killed"


def kill_backend(stage: Stage) -> str:
    """One of PostgreSQL's sessions dies, and PostgreSQL throws out all others and recovers."""
    backends = proc.children(stage.server.postgres, proc.parents())
    os.kill(max(backends), signal.SIGKILL)
    return "killed"


def kill_server(stage: Stage) -> str:
    """The server dies and is started again at once, as whatever supervises it does."""
    stage.server.kill()
    return f"serving again after {stage.server.start():.2f} s"


def deaf_sockets(stage: Stage) -> str:
    """Sockets stop reading, while much is said to them."""
    dropped, sent = stop_reading(stage.server.url, stage.sockets, stage.seconds)
    return f"{dropped} of {stage.sockets} sockets dropped after {sent / 2**20:.0f} MiB each"


def garbage(stage: Stage) -> str:
    """Sockets send what is nonsense, at every level of the protocol."""
    sent = send_garbage(stage.server.url, stage.sockets, stage.seconds)
    return f"{sent:,} pieces of garbage"


def full_disk(stage: Stage) -> str:
    """Nothing more can be written for a while."""
    assert stage.small is not None
    ballast = stage.small / "ballast"
    end = time.perf_counter() + stage.seconds
    with ballast.open("wb", buffering=0) as file:
        while time.perf_counter() < end:
            _fill(file.fileno())
            time.sleep(_STEP)
    size = ballast.stat().st_size
    ballast.unlink()
    return f"filled up with {size / 2**20:.0f} MiB"


def _fill(descriptor: int) -> None:
    """Write until there is no room for a single byte."""
    size = _CHUNK
    while size:
        try:
            os.write(descriptor, bytes(size))
        except OSError:
            size //= 2


FAULTS: dict[str, Callable[[Stage], str]] = {
    "postgres": kill_postgres,
    "backend": kill_backend,
    "server": kill_server,
    "deaf": deaf_sockets,
    "garbage": garbage,
    "disk": full_disk,
}
"""By the names that the command line has for them."""


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
