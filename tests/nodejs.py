"""Programs of Node in tests; their packages are installed into a cache folder of the user's own.

Not into a folder that others may write to: what is found there is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest import SkipTest

SOCKET_IO_CLIENT = "socket.io-client@4.8.3"
PLAYWRIGHT = "playwright-core@1.65.1"

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "happy-tests"


def node() -> str:
    """The path of Node. Raises SkipTest without it, or without npm."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        raise SkipTest("Node and npm are not installed")
    return program


def node_folder(package: str, *options: str) -> Path:
    """A folder from which Node finds a package (``name@version``); the first call installs it.

    ``options`` are further ones of ``npm install``. Raises SkipTest without Node, or if the registry cannot
    be reached.
    """
    node()
    folder = _CACHE / re.sub("[@/]", "-", package)
    if not folder.exists():
        _CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        _install(package, folder, options)
    return folder


def _install(package: str, folder: Path, options: Sequence[str]) -> None:
    """All of it or nothing: an interrupted installation is begun again."""
    with tempfile.TemporaryDirectory(dir=_CACHE, ignore_cleanup_errors=True) as beside:
        fixed = ["--prefix", beside, "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
        command = ["npm", "install", *fixed, *options, package]
        try:
            installed = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            raise SkipTest(f"npm takes too long to install {package}") from None
        if installed.returncode != 0:
            errors = [line for line in installed.stderr.splitlines() if line.startswith("npm error")]
            raise SkipTest(f"npm cannot install {package}: {' '.join(errors)[:200]}")
        with suppress(OSError):  # somebody else was faster
            Path(beside).rename(folder)
