"""Run the suites of a checkout of github.com/socketio/socket.io, with the published clients.

``python -m tests.clientsuites CHECKOUT`` needs Node, npm, and the ports 3000 and 3210, which are the suites'.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.nodejs import SOCKET_IO_CLIENT, node_folder

ROOT = Path(__file__).parents[2]
SUITES = {
    "engine.io-client": ("test/index.js",),
    "socket.io-client": ("--import=tsx", "test/index.ts"),
}
"""By package: what mocha is told."""
PACKAGES = (SOCKET_IO_CLIENT, "engine.io-client@6.6.6", "tsx@4.20.6", "expect.js@0.3.1", "has-cors@1.1.0")
FURTHER = ("@sinonjs/fake-timers@11.3.1", "text-blob-builder@0.0.1", "base64-arraybuffer@1.0.2")
TOOLS = (*PACKAGES, *FURTHER)
TIDYING = "exports.mochaHooks = { afterEach() { setTimeout.clock?.uninstall(); } };\n"
"""A test that fails while time is faked would otherwise take all that come after it along."""


@contextmanager
def serving() -> Iterator[None]:
    """The programs of both suites."""
    command = [sys.executable, "-m", "tests.clientsuites.programs"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            if not server.stdout.readline():
                sys.exit("the programs do not start")
            yield
        finally:
            server.terminate()


def run(checkout: Path, packages: Path, suite: str) -> int:
    """Run one suite; mocha's exit status, which is the number of failures."""
    folder = packages / "node_modules" / suite
    shutil.copytree(checkout / "packages" / suite / "test", folder / "test")
    tidying = folder / "tidying.cjs"
    tidying.write_text(TIDYING)
    mocha = packages / "node_modules" / "mocha" / "bin" / "mocha.js"
    command = ["node", str(mocha), "--exit", "--reporter=dot", f"--require={tidying}", *SUITES[suite]]
    sys.stdout.write(f"{suite}:\n")
    sys.stdout.flush()
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as running:
        try:
            return running.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)  # a program that is not to end by itself, of a test


def main() -> int:
    """How many tests failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of github.com/socketio/socket.io")
    checkout = parser.parse_args().checkout
    installed = node_folder("mocha@10.8.2", *TOOLS)
    with tempfile.TemporaryDirectory(prefix="happy-suites-") as name, serving():
        packages = Path(shutil.copytree(installed, Path(name) / "packages", symlinks=True))
        return sum(run(checkout, packages, suite) for suite in SUITES)


if __name__ == "__main__":
    sys.exit(main())
