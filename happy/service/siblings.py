"""HTTP between the processes of one server, on their own sockets."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from happy.base.unix_sockets import reachable

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IProtocol, IProtocolFactory

_PATIENCE: Final = 5.0
"""Seconds to connect."""


@implementer(IStreamClientEndpoint)
class SiblingEndpoint:
    """Connects to a unix socket, whatever the length of its path."""

    def __init__(self, reactor: Any, path: Path) -> None:
        self._reactor = reactor
        self._path = path

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """As the interface says."""
        protocolFactory.noisy = False  # type: ignore[attr-defined]  # two lines in the log for each request
        held = ExitStack()
        try:
            name = held.enter_context(reachable(self._path))
        except OSError as error:
            return fail(ConnectError(error.errno, error.strerror))
        endpoint = UNIXClientEndpoint(self._reactor, name, timeout=_PATIENCE)
        connecting: Deferred[IProtocol] = endpoint.connect(protocolFactory)
        return connecting.addBoth(_let_go, held)


@implementer(IAgentEndpointFactory)
class Siblings:
    """Connects to workers by their names, each on the socket ``name`` in its folder below ``folder``."""

    def __init__(self, reactor: Any, folder: Path, name: str) -> None:
        self._reactor = reactor
        self._folder = folder
        self._name = name

    def endpointForURI(self, uri: URI) -> SiblingEndpoint:
        """As the interface says."""
        return SiblingEndpoint(self._reactor, self._folder / uri.host.decode() / self._name)


def sibling_agent(reactor: Any, folder: Path, name: str, *, persistent: bool) -> Agent:
    """Asks ``http://w1/...`` and the like."""
    pool = HTTPConnectionPool(reactor, persistent=persistent)
    pool.retryAutomatically = False
    agent: Agent = Agent.usingEndpointFactory(reactor, Siblings(reactor, folder, name), pool)
    return agent


def _let_go(outcome: Any, held: ExitStack) -> Any:
    held.close()
    return outcome
