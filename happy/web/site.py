"""The HTTP server: its connections, how many there may be, and what they share (http.md 3)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.web.http import Request as PlainRequest

from happy.web.bodies import CONNECTION_BYTES, Keep
from happy.web.channel import HappyChannel
from happy.web.fastrequests import FastChannel
from happy.web.request import HappyRequest
from happy.web.serving import ServingSite

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from happy.web.resource import Router
    from happy.web.serving import SocketEndpoint

MANY_CONNECTIONS: Final = 2**20


class _Refusal(Protocol):
    """A connection that is closed at once: there is no room for it."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class HappySite(ServingSite):
    """Serves ``router``, and ``realtime`` at its own path. Keeps no access log."""

    noisy = False

    def __init__(
        self,
        router: Router,
        realtime: SocketEndpoint | None,
        clock: IReactorTime,
        *,
        room: int = MANY_CONNECTIONS,
        refused: Callable[[], None] = lambda: None,
        fast_requests: bool = True,
    ) -> None:
        """At most ``room`` connections are served at a time; ``refused`` is told of every further one.

        ``fast_requests`` lets usual requests bypass the general parser.
        """
        super().__init__(router, realtime, clock, HappyRequest, room, refused)
        self.protocol = FastChannel if fast_requests else HappyChannel  # type: ignore[assignment,method-assign]
        self._proxied = count()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        began = self.processor.now()
        owner = self.origins.connection_owner(addr)
        proxied = owner is None
        # What a proxy opens is everybody's: each connection pays for itself until it says for whom it speaks.
        owner = owner or f"proxied:{next(self._proxied)}"
        place = self.places.open(owner)
        if place is None:
            return _Refusal()
        channel: HappyChannel = super().buildProtocol(addr)
        keep = Keep(self.router.memory, self.disk, owner, channel, self.router.elsewhere)
        if not keep.take(CONNECTION_BYTES):
            place.leave()
            keep.end()
            self._refused()
            return _Refusal()
        channel.admit(place, self.processor.open(owner), keep, began, proxied=proxied)
        self.channels.add(channel)
        return channel

    def stop(self) -> Deferred[None]:
        """Answer what is under way, closing every connection after it; fires when nothing is left."""
        self.draining = True
        for channel in list(self.channels):
            channel.close_idle()
        return self.router.work.when_idle()

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only, whatever a TLS client offers."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Without the clock of an access log."""

    def stopFactory(self) -> None:
        """Without the clock of an access log; nothing is looked after any more."""
        self.router.sender.unsent.stop()
        self.processor.stop()

    def log(self, request: PlainRequest) -> None:
        """Requests are counted, not logged."""
