"""What a server listens on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from happy.service.listening import ListeningEndpoints
from happy.service.own_sockets import OwnSocket
from happy.service.place import AdoptingReactor

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort
    from twisted.internet.protocol import Factory

    from happy.service.lifecycle import Lifecycle
    from happy.service.place import WorkerPlace


class Ports:
    """Listens, and stops with the server. A worker does so with its parent's sockets."""

    _log = Logger()

    def __init__(self, reactor: Any, lifecycle: Lifecycle, place: WorkerPlace | None) -> None:
        self._reactor = reactor
        self._lifecycle = lifecycle
        self._place = place
        self._endpoints = ListeningEndpoints()
        self.listening: list[IListeningPort] = []

    async def listen(self, description: str, site: Factory[Any]) -> IListeningPort:
        """Listen for clients on an endpoint. Raises StartupError."""
        port = await self._endpoints.listen(description, site, self._listener(description))
        self.listening.append(port)
        self._lifecycle.started(f"listening on {description}", lambda: maybeDeferred(port.stopListening), 0.5)
        self._log.info("Listening on {address}", address=description)
        return port

    def reload(self) -> None:
        """Read certificates anew."""
        self._endpoints.reload()

    def _listener(self, description: str) -> Any:
        """What an endpoint takes for a reactor."""
        if self._place is None:
            return self._reactor
        return AdoptingReactor(self._reactor, self._place.descriptors[description])

    def own(self, path: Path, factory: Factory[Any], what: str) -> None:
        """Listen on a socket for other processes of this server. Raises StartupError."""
        socket = OwnSocket(path, factory, self._reactor)
        socket.start()
        self._lifecycle.started(f"listening for {what}", socket.stop, 0.1)
