"""The way from one node to Redis, which can break, freeze and heal."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.protocols.portforward import ProxyFactory, ProxyServer


class _Gate(ProxyServer):
    """One connection of the node."""

    factory: Any

    def connectionMade(self) -> None:
        if self.factory.way.broken:
            self.transport.abortConnection()  # type: ignore[union-attr]
            return
        self.factory.way.gates.add(self)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self.factory.way.bytes += len(data)
        super().dataReceived(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.way.gates.discard(self)
        if self.peer is not None:
            super().connectionLost(reason)


class Way:
    """A relay on a port of its own. ``cuts`` counts the connections that were broken here."""

    def __init__(self, reactor: Any, port: int) -> None:
        self.gates: set[_Gate] = set()
        self.broken = False
        self.cuts = 0
        self.bytes = 0
        factory = ProxyFactory("127.0.0.1", port)
        factory.protocol = _Gate
        factory.way = self  # type: ignore[attr-defined]
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    def cut(self) -> None:
        """Break what is connected."""
        for gate in list(self.gates):
            self.cuts += 1
            gate.transport.abortConnection()  # type: ignore[union-attr]

    def close(self) -> None:
        """Break it, and let nobody connect."""
        self.broken = True
        self.cut()

    def freeze(self) -> None:
        """Let nothing through, in either direction; nobody is told."""
        for gate in self.gates:
            for side in (gate, gate.peer):
                if side is not None and side.transport is not None:
                    side.transport.pauseProducing()

    def heal(self) -> None:
        """Be as before."""
        self.broken = False
        for gate in self.gates:
            for side in (gate, gate.peer):
                if side is not None and side.transport is not None:
                    side.transport.resumeProducing()

    def stop(self) -> Deferred[None]:
        """End."""
        self.close()
        return maybeDeferred(self._listening.stopListening)
