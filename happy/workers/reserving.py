"""Listening sockets that a parent makes for its workers and keeps open, whatever becomes of them."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from happy.base.errors import StartupError
from happy.service.listening import why
from happy.settings.endpoints import with_backlog

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

BALANCED: Final = sys.platform == "linux"
"""Whether the system gives connections to sockets of one port evenly; elsewhere workers share one socket."""


class Reserved:
    """The sockets of one endpoint: one for each of ``count`` workers, or one for all of them.

    A connection that waits at the socket of a worker that dies is served by its successor.
    """

    def __init__(self, reactor: Any, count: int) -> None:
        self._reactor = reactor
        self._count = count
        self._sockets: list[socket.socket] = []
        self._port: IListeningPort | None = None

    async def reserve(self, description: str) -> None:
        """Bind them. Raises StartupError with a line."""
        try:
            await serverFromString(self, with_backlog(description)).listen(Factory())
        except CannotListenError as error:
            await self.release()
            raise StartupError(f"cannot listen on {description}: {why(error.socketError)}") from None
        except OSError as error:  # what Twisted meets beside a UNIX socket
            raise StartupError(f"cannot listen on {description}: {why(error)}") from None

    @property
    def descriptors(self) -> list[int]:
        """Those of all sockets."""
        return [one.fileno() for one in self._sockets]

    def descriptor(self, worker: int) -> int:
        """The descriptor of a worker's socket; workers are counted from 1."""
        return self.descriptors[(worker - 1) % len(self._sockets)]

    async def release(self) -> None:
        """Close them."""
        for one in self._sockets:
            one.close()
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

    def adoptStreamPort(self, descriptor: int, family: int, factory: IProtocolFactory) -> None:
        """As ``IReactorSocket``: a socket that was given to the parent is nobody else's."""
        raise StartupError(
            "listen: several workers cannot share an inherited socket; use tcp:, ssl: or unix:"
        )

    # -- what an endpoint takes for a reactor ------------------------------------------------------

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> None:
        """As ``IReactorTCP``."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        if BALANCED:
            self._bound(family, interface, port).close()  # fails where another server shares its sockets too
        for _ in range(self._count if BALANCED else 1):
            made = self._bound(family, interface, port, shared=BALANCED)
            self._sockets.append(made)
            made.setblocking(False)
            made.listen(backlog)
            port = made.getsockname()[1]

    def _bound(
        self, family: socket.AddressFamily, interface: str, port: int, *, shared: bool = False
    ) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            made.bind((interface, port))
        except OSError as error:
            made.close()
            raise CannotListenError(interface, port, error) from None
        return made

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        """As ``IReactorSSL``; TLS is the workers'."""
        self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> None:
        """As ``IReactorUNIX``: one socket, whose file the parent removes."""
        port = self._reactor.listenUNIX(address, factory, backlog, mode, wantPID)
        port.stopReading()
        self._port = port
        self._sockets.append(port.socket.dup())
