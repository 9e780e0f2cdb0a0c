"""Programs of Node in tests; their packages are installed into a cache folder outside of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
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


def node_folder(package: str) -> Path:
    """A folder from which Node finds a package (``name@version``); the first call installs it.

    Raises SkipTest without Node.
    """
    node()
    name, _, _ = package.rpartition("@")
    folder = _CACHE / package.replace("@", "-")
    if not (folder / "node_modules" / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(["npm", "install", *options, package], check=True, capture_output=True)
    return folder
