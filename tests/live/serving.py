"""A server as an operator runs it: ``twistd -n happy`` in a process and a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

ROOT = Path(__file__).parents[2]
READY = b"Ready after"
PATIENCE = 60.0


def free_port() -> int:
    """A TCP port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served(ProcessProtocol):
    """The process of a server. ``log`` is everything it wrote to its standard outputs.

    ``ready`` fires when it serves and fails if it ends before; ``ended`` fires with its exit status,
    which is negative for a signal.
    """

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = b""
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int] = Deferred()
        listen = f"--listen=tcp:{self.port}:interface=localhost"
        twistd = str(Path(sys.executable).with_name("twistd"))
        reactor.spawnProcess(
            self,
            twistd,
            [twistd, "-n", "--pidfile=", "happy", listen, *options],
            {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
            str(folder),
        )

    async def start(self) -> None:
        """Wait until it serves."""
        await self.ready.addTimeout(PATIENCE, reactor)

    async def stop(self) -> int:
        """Ask it to stop; its exit status."""
        self.kill(signal.SIGTERM)
        try:
            return await self.ended.addTimeout(PATIENCE, reactor)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            raise

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.transport.pid is not None:
            self.transport.signalProcess(number.value)

    def outReceived(self, data: bytes) -> None:
        """Collect the log."""
        self.log += data
        if READY in self.log and not self.ready.called:
            self.ready.callback(None)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """Tell whoever waits."""
        value = reason.value
        status = 0 if reason.check(ProcessDone) else -value.signal if value.signal else value.exitCode
        if not self.ready.called:
            self.ready.errback(RuntimeError(f"exit status {status}: {self.log.decode(errors='replace')}"))
        self.ended.callback(status)
