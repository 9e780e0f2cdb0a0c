"""The place of a worker: what one process of several has of what they share, and what it listens with."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from twisted.internet import tcp, unix
from twisted.protocols.tls import TLSMemoryBIOFactory

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

    from happy.keys.tokens import Keys

WORKER_STOP_SECONDS: Final = 5.0
"""What all steps of a worker's stop take together: PostgreSQL, which outlives it, has the rest."""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """A worker of several.

    ``folder`` is where its own sockets are. ``descriptors`` are the numbers of listening sockets that its
    parent made, by the endpoint they are for.
    """

    REQUESTS: ClassVar = "requests.sock"
    METRICS: ClassVar = "metrics.sock"

    number: int
    folder: Path
    descriptors: Mapping[str, int] = field(default_factory=dict)
    node: str = ""
    """What the ids of sessions begin with, before the worker's name."""
    stop_seconds: float = WORKER_STOP_SECONDS
    draining: bool = False
    """Whether it is to take no sockets from the beginning, since the server is being emptied."""
    replaces: bool = False
    """Whether it takes the place of one that has served."""
    keys: Keys | None = None
    """What its parent derived, for which it need not do so."""

    @property
    def sid_prefix(self) -> str:
        """What the ids of its sessions begin with."""
        return f"{self.node}{self.name}."

    def another(self, sid: str) -> str | None:
        """The name of another worker, if a session of that id is its."""
        found = re.match(r"(w[1-9]\d{0,3})\.", sid.removeprefix(self.node))
        return None if found is None or found[1] == self.name else found[1]

    @property
    def requests(self) -> Path:
        """Where it takes requests that reached other workers."""
        return self.folder / self.REQUESTS

    @property
    def metrics(self) -> Path:
        """Where it tells its metrics."""
        return self.folder / self.METRICS

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        return f"w{self.number}"


class AdoptingReactor:
    """What an endpoint takes for a reactor when its socket exists already."""

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """As ``IReactorTCP``."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        adopted: tcp.Port = self._reactor.adoptStreamPort(self._descriptor, family, factory)
        adopted.socket.listen(backlog)  # Twisted asks for 50 places
        return adopted

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """As ``IReactorSSL``."""
        protected = TLSMemoryBIOFactory(contextFactory, False, factory)
        return self.listenTCP(port, protected, backlog, interface)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> IListeningPort:
        """As ``IReactorUNIX``."""
        made: unix.Port = _SharedUNIXPort._fromListeningDescriptor(self._reactor, self._descriptor, factory)
        made.mode, made.backlog = mode, backlog
        made.startListening()
        return made


class _SharedUNIXPort(unix.Port):
    """A port whose file is somebody else's to remove."""

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
