"""Non-blocking TCP connections of the load tool, in the clear or over TLS."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from happy.bench.loop import READ, WRITE, Loop

_CHUNK = 64 * 1024
"""Bytes to read at once: more would make the memory allocator ask the system each time."""
_BIND_ADDRESS_NO_PORT = 24
"""Linux: choose the port when connecting, so that ports can be shared by addresses."""


class Unreachable(Exception):
    """A server that cannot be found or connected to; the text is for people."""


@dataclass(frozen=True)
class Target:
    """Where the server is. ``family`` and ``address`` are resolved; ``host`` is its name as given."""

    secure: bool
    host: str
    port: int
    family: int
    address: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.secure else 80) else f"{name}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is reached over the loopback of IPv4, where source addresses are free to choose."""
        return self.address.startswith("127.")


def find_all(urls: str) -> list[Target]:
    """The servers that URLs name, which commas separate. Raises Unreachable."""
    return [find(url) for url in urls.split(",")]


def find(url: str) -> Target:
    """The server that a URL names. Raises Unreachable."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unreachable(f"{url} is not an address like http://127.0.0.1:3005")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"{parts.hostname} has no address: {error.strerror}") from None
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return Target(secure, parts.hostname, port, int(family), str(address[0]))


class Sources:
    """The addresses that connections come from: one after the other, so that none runs out of ports."""

    def __init__(self, target: Target, addresses: int, first: int = 0) -> None:
        self._count = addresses if target.local else 0
        self._next = first

    def take(self) -> str | None:
        """The next connection's address; None leaves it to the system."""
        if self._count < 2:
            return None
        number = self._next % self._count
        self._next += 1
        # 127.1.0.1 and up: away from 127.0.0.1, which other programs use.
        return f"127.1.{number // 250}.{number % 250 + 1}"


class Stream:
    """A connection; subclasses say what happens in ``opened``, ``received`` and ``closed``."""

    def __init__(self, loop: Loop, target: Target, sources: Sources) -> None:
        self._loop = loop
        self._target = target
        self._waiting = b""
        self._open = False
        self._gone = False
        self._socket = self._connect(sources.take())
        self._descriptor = self._socket.fileno()
        self._receive = self._socket.recv
        loop.watch(self._descriptor, self, WRITE)

    def _connect(self, source: str | None) -> socket.socket:
        try:
            plain = socket.socket(self._target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise Unreachable(_no_socket(error)) from None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            plain.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            plain.bind((source, 0))
        status = plain.connect_ex((self._target.address, self._target.port))
        if status not in {0, errno.EINPROGRESS}:
            plain.close()
            raise Unreachable(f"{self._target.authority}: {os.strerror(status)}")
        return self._secured(plain) if self._target.secure else plain

    def _secured(self, plain: socket.socket) -> socket.socket:
        return _context().wrap_socket(
            plain, server_hostname=self._target.host, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )

    def opened(self) -> None:
        """The connection is made."""
        raise NotImplementedError

    def received(self, data: bytes) -> None:
        """Bytes came in."""
        raise NotImplementedError

    def closed(self, reason: str) -> None:
        """The other side is gone, or the connection was never made. Not called after :meth:`close`."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send now what fits, the rest when there is room."""
        if self._waiting:
            self._waiting += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        if sent != len(data):
            self._waiting = data[sent:]
            self._loop.change(self._descriptor, READ | WRITE)

    @property
    def busy(self) -> bool:
        """Whether the server is slow to read: bytes wait to be sent."""
        return bool(self._waiting)

    def readable(self) -> None:
        """Read what is there."""
        if not self._open:
            self._connected()
            return
        try:
            data = self._receive(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._lose(error)
            return
        if not data:
            self._lose(None)
            return
        self.received(data)
        if self._target.secure and not self._gone:
            self._drain()

    def _drain(self) -> None:
        """Read what TLS has decrypted already: the system will not tell of it again."""
        while not self._gone and self._socket.pending():  # type: ignore[attr-defined]
            self.received(self._receive(_CHUNK))

    def writable(self) -> None:
        """Finish connecting, or send what waits."""
        if not self._open:
            self._connected()
            return
        waiting, self._waiting = self._waiting, b""
        self.write(waiting)
        if not self._waiting and not self._gone:
            self._loop.change(self._descriptor, READ)

    def _connected(self) -> None:
        status = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            if status:
                raise OSError(status, os.strerror(status))
            if self._target.secure:
                self._socket.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            self._loop.change(self._descriptor, READ)
            return
        except ssl.SSLWantWriteError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._open = True
        self._loop.change(self._descriptor, READ)
        self.opened()

    def _lose(self, error: OSError | None) -> None:
        if not self._gone:
            self.close()
            self.closed(_reason(error))

    def reset(self) -> None:
        """Break off as a phone does that loses its network: what is on its way is thrown away."""
        if not self._gone:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    def close(self) -> None:
        """Drop the connection, without a word to anybody."""
        if not self._gone:
            self._gone = True
            self._loop.forget(self._descriptor)
            self._socket.close()


def _no_socket(error: OSError) -> str:
    text = f"cannot make a socket: {(error.strerror or str(error)).lower()}"
    return f"{text}; allow more with ulimit -n" if error.errno == errno.EMFILE else text


@cache
def _context() -> ssl.SSLContext:
    """Trusts whom the system trusts, or ``SSL_CERT_FILE``; made once, since that takes long."""
    return ssl.create_default_context()


def _reason(error: OSError | None) -> str:
    if error is None:
        return "connection closed by the server"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return (error.strerror or str(error)).lower()
