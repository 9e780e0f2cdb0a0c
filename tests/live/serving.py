"""A server as an operator runs it: ``twistd -n happy`` in a process and a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

ROOT = Path(__file__).parents[2]
READY = b"Ready after"
TWISTD = str(Path(sys.executable).with_name("twistd"))
PATIENCE = 60.0


def free_port() -> int:
    """A TCP port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served(ProcessProtocol):
    """The process of a server.

    ``log`` is everything it wrote to its standard output and error, ``errors`` the latter alone.
    ``ready`` fires when it serves and fails if it ends before; ``ended`` fires with its exit status,
    which is negative for a signal. ``runner`` is what runs it, ``twistd`` by default.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        runner: Sequence[str] = (TWISTD,),
        port: int | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = b""
        self.errors = b""
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self._listeners: list[tuple[bytes, Deferred[None]]] = []
        self._exits: list[Deferred[int]] = []
        self._status: int | None = None
        listen = f"--listen=tcp:{self.port}:interface=localhost"
        reactor.spawnProcess(
            self,
            runner[0],
            [*runner, "-n", "--pidfile=", "happy", listen, *options],
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

    def said(self, text: bytes) -> Deferred[None]:
        """Fires when the log contains this."""
        found: Deferred[None] = Deferred()
        self._listeners.append((text, found))
        self._look()
        return found

    def exited(self) -> Deferred[int]:
        """Fires with the exit status when it is gone; may be asked for more than once."""
        gone: Deferred[int] = Deferred()
        if self._status is None:
            self._exits.append(gone)
        else:
            gone.callback(self._status)
        return gone

    def _look(self) -> None:
        for listener in [listener for listener in self._listeners if listener[0] in self.log]:
            self._listeners.remove(listener)
            listener[1].callback(None)

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.transport.pid is not None:
            self.transport.signalProcess(number.value)

    def outReceived(self, data: bytes) -> None:
        """Collect the log."""
        self.log += data
        if READY in self.log and not self.ready.called:
            self.ready.callback(None)
        self._look()

    def errReceived(self, data: bytes) -> None:
        """Collect errors, in the log too."""
        self.errors += data
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:
        """Tell whoever waits."""
        value = reason.value
        status = 0 if reason.check(ProcessDone) else -value.signal if value.signal else value.exitCode
        if not self.ready.called:
            self.ready.errback(RuntimeError(f"exit status {status}: {self.log.decode(errors='replace')}"))
        self._status = status
        self.ended.callback(status)
        for gone in self._exits:
            gone.callback(status)
