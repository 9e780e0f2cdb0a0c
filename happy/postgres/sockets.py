"""A folder for PostgreSQL's socket whose path fits into a socket address."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from happy.base.errors import StartupError
from happy.postgres.account import Account
from happy.postgres.cluster import socket_path

_LONGEST = 107 if sys.platform == "linux" else 103


def fits(folder: Path) -> bool:
    """Whether clients can name a socket in this folder; libpq splits host names at commas."""
    return len(os.fsencode(socket_path(folder))) <= _LONGEST and "," not in str(folder)


def short_folder(account: Account | None) -> Path:
    """A new private folder of the account with a short path. The caller removes it. Raises StartupError."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if place and os.access(place, os.W_OK) and fits(Path(place, "happy-12345678")):
            folder = Path(tempfile.mkdtemp(prefix="happy-", dir=place))
            if account is not None:
                os.chown(folder, account.uid, account.gid)
            return folder
    raise StartupError("the data folder's path is too long for a socket, and there is no temporary folder")
