"""The embedded PostgreSQL of a server that does not run, for as long as a command works with it.

A process of its own, since PostgreSQL's keeper lives on a reactor and commands do not. It runs as whoever ran
the server, so that root leaves no file behind that the server may not open; tells in a line that PostgreSQL
runs, or why not; and ends when its standard input does, which happens however the command ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react

from happy.base.clocks import follow_monotonic_time
from happy.base.errors import StartupError
from happy.operator.trouble import NotReachable, no_access
from happy.postgres import EmbeddedPostgres
from happy.postgres.child import give_way
from happy.postgres.orphans import FolderLock

if TYPE_CHECKING:
    from happy.settings.config import Config

READY = "ready"
TAKEN = "taken"
_STOP_SECONDS = 20.0


@contextmanager
def hosted(
    config: Config, settings: Mapping[str, str] | None = None, *, gives_way: bool = False
) -> Iterator[None]:
    """PostgreSQL runs, under the lock of the server's folder; ``settings`` are further ones of PostgreSQL.

    One that gives way comes after others at the processor. Raises StartupError while somebody else has the
    lock, and NotReachable with any other reason.
    """
    options = {
        "folder": os.path.realpath(config.data_dir / "postgres"),
        "bin_dir": config.postgres_bin_dir and str(config.postgres_bin_dir.absolute()),
        "connections": config.database_pool,
        "settings": settings,
        "gives_way": gives_way,
    }
    # A session of its own, which a Ctrl-C in the terminal does not reach before the command is over; without
    # modules of the working directory, which may be anybody's.
    host = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert host.stdin is not None
    assert host.stdout is not None
    try:
        said = host.stdout.readline().strip()
        if said == TAKEN:
            raise StartupError("another process has the folder")
        if said != READY:
            raise NotReachable(said or "PostgreSQL could not be started")
        yield
    finally:
        host.stdin.close()
        host.wait()
        host.stdout.close()


def use(folder: Path) -> Callable[[], None]:
    """Let the PostgreSQL of this folder, if a command hosts it, go on until what is answered is called.

    Users share a lock; the host takes it alone before it ends. Raises OSError.
    """
    try:
        handle = os.open(_users_of(folder), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return lambda: None
    fcntl.flock(handle, fcntl.LOCK_SH)
    return lambda: os.close(handle)


def _users_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.users")


class _Input(Protocol):
    """Notices the end of the standard input."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: object = None) -> None:
        """Nobody needs the database any more."""
        self.ended.callback(None)


async def _host(reactor: Any, options: dict[str, Any]) -> None:
    follow_monotonic_time(reactor)
    folder = Path(options["folder"])
    postgres = EmbeddedPostgres(
        folder,
        reactor=reactor,
        bin_dir=options["bin_dir"] and Path(options["bin_dir"]),
        connections=options["connections"],
        settings=options["settings"],
    )
    await postgres.start()
    handle = os.open(_users_of(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    over = _Input()
    StandardIO(over, reactor=reactor)
    _say(READY)
    await over.ended
    fcntl.flock(handle, fcntl.LOCK_EX)
    await postgres.stop(_STOP_SECONDS)


def _say(line: str) -> None:
    with suppress(BrokenPipeError):  # who asked has gone, which the end of the input tells
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _be_the_owner(folder: Path) -> None:
    """As root, become whoever ran the server: the owner of the lock that it left beside its database."""
    lock = folder.with_name(f"{folder.name}.lock")
    found = (lock if lock.exists() else folder.parent).stat()
    if os.geteuid() == 0 and found.st_uid != 0:
        os.setgroups([])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)


def _is_taken(folder: Path) -> bool:
    lock = FolderLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.take()
    except StartupError:
        return True
    lock.release()
    return False


def main(options: dict[str, Any]) -> None:
    """Host until nobody needs it. The process ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(options["folder"])
    if options["gives_way"]:
        give_way()
    try:
        _be_the_owner(folder)
        if _is_taken(folder):
            _say(TAKEN)
            return
    except OSError as error:
        _say(str(no_access(error, folder)))
        return

    async def host(reactor: Any) -> None:
        try:
            await _host(reactor, options)
        except StartupError as error:
            _say(str(error))
        except OSError as error:
            _say(str(no_access(error, folder)))

    react(lambda reactor: Deferred.fromCoroutine(host(reactor)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
