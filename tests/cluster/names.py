"""Names of hosts that have no address for a while."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver
from twisted.trial.unittest import TestCase
from zope.interface import implementer


@implementer(IHostnameResolver)
class Nameless:
    """Finds no address ``left`` times, and then always this machine's; for as long as a test takes."""

    def __init__(self, test: TestCase, left: int) -> None:
        self.left = left
        test.addCleanup(reactor.installNameResolver, reactor.nameResolver)
        reactor.installNameResolver(self)

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, *options: Any) -> Any:
        receiver.resolutionBegan(None)
        if self.left:
            self.left -= 1
        else:
            receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        receiver.resolutionComplete()
