"""A data directory's previous server: whether it still runs, and files it left behind."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from happy.base.errors import StartupError
from happy.postgres.cluster import MARK, PORT

_STEP = 0.05
_QUIT_PATIENCE = 5.0


class FolderLock:
    """One server for each data directory: an exclusive lock that ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> None:
        """Raises StartupError when another server has it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise StartupError(
                f"another server is running with the data folder {self._path.parent}"
            ) from None
        self._handle = handle

    def release(self) -> None:
        """Let another server have the directory."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def recorded_pid(folder: Path) -> int | None:
    """The process id in the data directory's lock file."""
    try:
        return int((folder / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def living_server(folder: Path) -> int | None:
    """The process id of a server that runs on the directory; None without one, or without /proc."""
    pid = recorded_pid(folder)
    return pid if pid is not None and _works_in(pid, folder) else None


def remove_stale_files(folder: Path) -> None:
    """Remove lock files whose process id now belongs to another process, or to a dead one not yet buried.

    PostgreSQL removes them itself when the number is free, and refuses to start otherwise.
    """
    pid = recorded_pid(folder)
    if pid is None or not Path(f"/proc/{pid}").exists() or _works_in(pid, folder):
        return
    for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock"):
        (folder / name).unlink(missing_ok=True)


def is_ours(folder: Path) -> bool:
    """Whether the directory's last server was started by this package."""
    try:
        return MARK in (folder / "postmaster.opts").read_text()
    except FileNotFoundError:
        return False


def _works_in(pid: int, folder: Path) -> bool:
    """Whether a process is alive and its working directory is the data directory, as a server's is."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" and os.path.samefile(f"/proc/{pid}/cwd", folder)
    except OSError:  # it is gone, or it is someone's whose processes we may not look at
        return False


def end_leftovers(folder: Path) -> int:
    """Kill processes of a dead server that do not notice its death, as stopped ones; how many there were.

    While they live, no other server can start on the directory. Nothing is done while a server lives there.
    """
    if living_server(folder) is not None:
        return 0
    left = [pid for pid in _processes() if _works_in(pid, folder) and _is_postgres(pid)]
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _is_postgres(pid: int) -> bool:
    """Whether it runs PostgreSQL's program, unlike a shell whose working directory is the same."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).split(" ")[0] == "postgres"
    except OSError:
        return False


async def stop_process(pid: int, reactor: Any, patience: float) -> None:
    """End a server that is not our child: in order, and after ``patience`` seconds at once.

    The last signal is for one that was stopped and hears no other. Raises StartupError when it does not end.
    """
    gone = process_gone(pid, reactor)
    signals = (
        (signal.SIGINT, patience),
        (signal.SIGQUIT, _QUIT_PATIENCE),
        (signal.SIGKILL, _QUIT_PATIENCE),
    )
    for number, seconds in signals:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            break
        if await _within(gone, reactor, seconds):
            return
    raise StartupError(f"PostgreSQL process {pid} of an earlier server does not end; end it by hand")


def _within(gone: Deferred[None], reactor: Any, seconds: float) -> Deferred[bool]:
    """Whether ``gone`` fires in time; it goes on waiting if not."""
    answer: Deferred[bool] = Deferred()
    timer = reactor.callLater(seconds, answer.callback, False)

    def fired(_: None) -> None:
        if timer.active():
            timer.cancel()
            answer.callback(True)

    gone.addCallback(fired)
    return answer


def process_gone(pid: int, reactor: Any) -> Deferred[None]:
    """Fires when a process, which is not our child, has ended."""
    gone: Deferred[None] = Deferred()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        gone.callback(None)
    except (AttributeError, OSError):
        _look_again(pid, reactor, lambda: gone.callback(None))
    else:
        reactor.addReader(_Handle(handle, reactor, lambda: gone.callback(None)))
    return gone


def _look_again(pid: int, reactor: Any, gone: Callable[[], None]) -> None:
    """Where the system cannot tell of a process's end, ask in short steps."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        gone()
    else:
        reactor.callLater(_STEP, _look_again, pid, reactor, gone)


@implementer(IReadDescriptor)
class _Handle:
    """A process handle, readable once the process has ended."""

    def __init__(self, handle: int, reactor: Any, gone: Callable[[], None]) -> None:
        self._handle = handle
        self._reactor = reactor
        self._gone = gone

    def fileno(self) -> int:
        return self._handle

    def logPrefix(self) -> str:
        return "process"

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._handle)
        self._gone()

    def connectionLost(self, reason: object) -> None:
        """Nothing else can happen to a process handle."""
