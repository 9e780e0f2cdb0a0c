"""Sockets in a folder of the server's own, for its own processes and its operator."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from happy.base.errors import StartupError
from happy.base.unix_sockets import reachable
from happy.service.listening import why

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort
    from twisted.internet.protocol import Factory

_MODE: Final = 0o600


class OwnSocket:
    """Listens on a unix socket that only its owner and root may open."""

    def __init__(self, path: Path, factory: Factory[Any], reactor: Any) -> None:
        self._path = path.absolute()
        self._factory = factory
        self._reactor = reactor
        self._name = ExitStack()
        self._port: IListeningPort | None = None

    def start(self) -> None:
        """Listen; a socket that is left over is replaced. Raises StartupError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileNotFoundError):
                self._path.unlink()
            name = self._name.enter_context(reachable(self._path))
            self._port = self._reactor.listenUNIX(name, self._factory, mode=_MODE)
        except CannotListenError as error:
            raise StartupError(f"cannot listen on {self._path}: {why(error.socketError)}") from None
        except OSError as error:
            raise StartupError(f"cannot listen on {self._path}: {why(error)}") from None

    async def stop(self) -> None:
        """Listen no more; what is under way ends with the process."""
        port, self._port = self._port, None
        if port is not None:
            try:
                await maybeDeferred(port.stopListening)
            except FileNotFoundError:
                # Somebody removed the socket, at which Twisted leaves the end of the port undone.
                Port.connectionLost(port, Failure(ConnectionDone()))  # type: ignore[arg-type]
        self._name.close()
