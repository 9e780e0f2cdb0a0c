"""What stands between the server and PostgreSQL and hands sessions from one client to the next."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from tests.harness import cluster

_NOBODY = 65534
_PORT = 6432
REFUSES = "FATAL", "08P01", "unsupported startup parameter: options"


class _Client(Protocol):
    server: Any = None

    def __init__(self, pooler: SmallPooler) -> None:
        self._pooler = pooler

    def dataReceived(self, data: bytes) -> None:
        if self.server is not None:
            self.server.transport.write(data)
            return
        if b"\0options\0" in data:
            if not self._pooler.drops:
                self.transport.write(_error(*REFUSES))  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]
                return
            data = _without_options(data)
        self.transport.pauseProducing()  # type: ignore[union-attr]
        endpoint = UNIXClientEndpoint(self._pooler.reactor, f"{cluster().folder}/.s.PGSQL.5432")
        connectProtocol(endpoint, _Server(self)).addCallback(self._connected, data)

    def _connected(self, server: Any, data: bytes) -> None:
        self.server = server
        server.transport.write(data)
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if self.server is not None:
            self.server.transport.loseConnection()


class _Server(Protocol):
    def __init__(self, client: _Client) -> None:
        self._client = client

    def dataReceived(self, data: bytes) -> None:
        self._client.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self._client.transport.loseConnection()  # type: ignore[union-attr]


class SmallPooler(Factory):
    """Refuses the option of sessions with PgBouncer's words, or drops it in silence."""

    noisy = False

    def __init__(self, reactor: Any, *, drops: bool) -> None:
        self.reactor = reactor
        self.drops = drops
        self._folder = tempfile.mkdtemp(prefix="happy-pooler-")
        self._port = reactor.listenUNIX(f"{self._folder}/.s.PGSQL.5432", self)

    def buildProtocol(self, address: Any) -> Protocol:
        return _Client(self)

    def url(self, database: str) -> str:
        """The URL of a database behind it."""
        return f"postgresql://happy@/{database}?host={quote(self._folder)}"

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        await self._port.stopListening()
        shutil.rmtree(self._folder)


class PgBouncer:
    """The real one, in transaction mode with two sessions; for machines that have it."""

    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="happy-pgbouncer-"))
        self._folder.chmod(0o755)
        (self._folder / "users").write_text('"happy" ""\n')
        (self._folder / "ini").write_text(
            f"[databases]\n* = host={cluster().folder} user=happy\n[pgbouncer]\nlisten_addr =\n"
            f"unix_socket_dir = {self._folder}\nlisten_port = {_PORT}\nauth_type = any\n"
            f"auth_file = {self._folder}/users\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        other = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if other:
            os.chown(self._folder, _NOBODY, _NOBODY)
        assert self.program is not None
        self._process = subprocess.Popen(
            [self.program, "-q", str(self._folder / "ini")], stderr=subprocess.DEVNULL, **other
        )
        self._await_ready()

    def _await_ready(self) -> None:
        while self._process.poll() is None:
            try:
                psycopg2.connect(self.url("postgres")).close()
            except psycopg2.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError("PgBouncer did not start")

    def url(self, database: str) -> str:
        """The URL of a database behind it."""
        return f"postgresql://happy@/{database}?host={quote(str(self._folder))}&port={_PORT}"

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        shutil.rmtree(self._folder)


def _error(*facts: str) -> bytes:
    fields = b"".join(
        kind + fact.encode() + b"\0" for kind, fact in zip((b"S", b"C", b"M"), facts, strict=True)
    )
    return b"E" + struct.pack(">I", len(fields) + 5) + fields + b"\0"


def _without_options(packet: bytes) -> bytes:
    version, words = packet[4:8], packet[8:].rstrip(b"\0").split(b"\0")
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    pairs.pop(b"options")
    body = version + b"".join(name + b"\0" + value + b"\0" for name, value in pairs.items()) + b"\0"
    return struct.pack(">I", len(body) + 4) + body
