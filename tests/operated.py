"""A server as an operator runs it, for scripts that measure or hurt it: a process, a folder, a log."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from happy.bench import proc

ROOT = Path(__file__).parents[1]
_STEP = 0.005


def say(line: str) -> None:
    """Tell whoever runs a script."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def free_port() -> int:
    """A TCP port of the loopback that nobody uses, of those that no client is given either."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Operated:
    """``twistd -n happy`` with its data in ``folder``, which may be started again and again.

    ``twistd`` is that of another installation, ``files`` how many files it may have open.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        twistd: Path | None = None,
        files: int | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        program = twistd or Path(sys.executable).with_name("twistd")
        limit = "" if files is None else f"ulimit -n {files}; "
        self._command = ["sh", "-c", f'{limit}exec "$0" "$@"', str(program.absolute())]
        given = dict(environment or {})
        path = [given.pop("PYTHONPATH", ""), "" if twistd else str(ROOT)]
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            **given,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None
        return self._process.pid

    @property
    def postgres(self) -> int:
        """The process id of its PostgreSQL."""
        found = proc.postmaster(self.pid)
        assert found is not None
        return found

    @property
    def dsn(self) -> str:
        """Its database, for whoever may enter the folder."""
        return f"postgresql://happy@/postgres?host={self.folder}/data/postgres"

    @property
    def log(self) -> str:
        """Everything that it said."""
        return (self.folder / "log").read_text()

    @property
    def log_size(self) -> int:
        """How many bytes it said."""
        return (self.folder / "log").stat().st_size

    def start(self, patience: float = 120.0) -> float:
        """Start it; the seconds until it answered. Raises RuntimeError."""
        listen = f"--listen=tcp:{self.port}:interface=localhost"
        begun = time.perf_counter()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "-n", "--pidfile=", "happy", listen, *self._options],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while not self.answers():
            if self._process.poll() is not None or time.perf_counter() - begun > patience:
                raise RuntimeError(f"the server does not serve: {self.log[-2000:]}")
            time.sleep(_STEP)
        return time.perf_counter() - begun

    def answers(self) -> bool:
        """Whether it answers a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self, patience: float = 30.0) -> tuple[int, float]:
        """Ask it to stop; its exit status and the seconds it took. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        begun = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(patience)
        return status, time.perf_counter() - begun

    def kill(self) -> None:
        """Let it die at once; its PostgreSQL, which notices, ends by itself."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None


@contextmanager
def operated(
    folder: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    twistd: Path | None = None,
    files: int | None = None,
) -> Iterator[Operated]:
    """A server that has not been started, and that is gone afterwards."""
    server = Operated(folder, *options, environment=environment, twistd=twistd, files=files)
    try:
        yield server
    finally:
        if server.running:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                server.kill()
