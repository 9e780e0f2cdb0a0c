"""The database of a server, whether the server runs or not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from happy.base.errors import ConnectionLost, StartupError
from happy.operator.hosting import hosted, use
from happy.operator.trouble import NotReachable, no_access
from happy.postgres.cluster import DATABASE, SESSION, USER
from happy.storage.blocking import connect

if TYPE_CHECKING:
    from happy.settings.config import Config

NAME = "happyctl"
"""What our sessions are called on PostgreSQL."""

PATIENCE = 30.0
"""Seconds that a server may take that is just starting or stopping."""
_STEP = 0.2
_SOCKETS_LINE = 4
"""Of PostgreSQL's lock file: the folder of its socket."""


@contextmanager
def reached(config: Config) -> Iterator[str]:
    """The URL of the server's database, which can be connected to meanwhile. Raises NotReachable.

    The embedded one is that of the running server; without one it is started, under the folder's lock.
    """
    with ExitStack() as stack:
        yield config.database_url or _embedded(config, stack)


def _embedded(config: Config, stack: ExitStack) -> str:
    folder = Path(os.path.realpath(config.data_dir / "postgres"))
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # what an operator's shell says of other databases
    try:
        _must_exist(folder)
        deadline = time.monotonic() + PATIENCE
        while (dsn := _running(folder, stack)) is None:
            _start(config, folder, stack, last=time.monotonic() > deadline)
        return dsn
    except OSError as error:
        raise no_access(error, folder) from None


def _must_exist(folder: Path) -> None:
    if not (folder / "PG_VERSION").exists():
        raise NotReachable(
            f"there is no database in {folder}; name the server's folder with --data-dir, "
            "or its settings with --config"
        )


def _running(folder: Path, stack: ExitStack) -> str | None:
    """The URL of the PostgreSQL that works in the folder; None if none takes connections."""
    leave = use(folder)
    try:
        dsn = url(sockets_of(folder))
        connect(dsn, NAME).close()
    except (FileNotFoundError, IndexError, ConnectionLost):
        leave()
        return None
    except BaseException:
        leave()
        raise
    stack.callback(leave)
    return dsn


def _start(config: Config, folder: Path, stack: ExitStack, *, last: bool) -> None:
    """Start PostgreSQL; a server that has the folder, and does not take connections, is waited for."""
    try:
        stack.enter_context(hosted(config))
    except StartupError:
        if last:
            raise NotReachable(
                f"a server runs with the data folder {folder.parent}, and its database takes no connections"
            ) from None
        time.sleep(_STEP)


def sockets_of(folder: Path) -> Path:
    """Where the PostgreSQL of this folder has its socket. Raises OSError and IndexError without one."""
    return Path((folder / "postmaster.pid").read_text().split("\n")[_SOCKETS_LINE])


def url(sockets: Path) -> str:
    """Where an embedded PostgreSQL is connected to that has its socket in this folder."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(sockets))}&options={quote(SESSION)}"
