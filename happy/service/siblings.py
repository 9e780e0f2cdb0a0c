"""HTTP between the processes of one server, on their own sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE: Final = 5.0
"""Seconds to connect."""


@implementer(IAgentEndpointFactory)
class Siblings:
    """Connects to workers by their names, each on the socket ``name`` in its folder below ``folder``."""

    def __init__(self, reactor: Any, folder: Path, name: str) -> None:
        self._reactor = reactor
        self._folder = folder
        self._name = name

    def endpointForURI(self, uri: URI) -> UNIXClientEndpoint:
        """As the interface says."""
        path = self._folder / uri.host.decode() / self._name
        return UNIXClientEndpoint(self._reactor, str(path), timeout=_PATIENCE)


def sibling_agent(reactor: Any, folder: Path, name: str, *, persistent: bool) -> Agent:
    """Asks ``http://w1/...`` and the like."""
    pool = HTTPConnectionPool(reactor, persistent=persistent)
    pool.retryAutomatically = False
    agent: Agent = Agent.usingEndpointFactory(reactor, Siblings(reactor, folder, name), pool)
    return agent
