"""The HTTP server: its connections, how many there may be, and what they share (http.md 3)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web.http import Request as PlainRequest
from twisted.web.server import Site

from happy.api.declare import MIB
from happy.base.bounds import Budget
from happy.base.redaction import describe_fault
from happy.web.bodies import CONNECTION_BYTES, Keep
from happy.web.channel import HappyChannel
from happy.web.fastrequests import FastChannel
from happy.web.places import KEEP_ALIVE_SECONDS, Places
from happy.web.request import HappyRequest
from happy.web.shares import Processor

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from happy.web.request import SocketEndpoint
    from happy.web.resource import Router

SILENCE_SECONDS: Final = 60.0
MANY_CONNECTIONS: Final = 2**20
BODIES_ON_DISK: Final = 512 * MIB
"""Bytes of large bodies that may be in the house: being received, or of requests without an answer."""


class _Refusal(Protocol):
    """A connection that is closed at once: there is no room for it."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class HappySite(Site):
    """Serves ``router``, and ``realtime`` at its own path. Keeps no access log."""

    noisy = False
    draining = False
    _log = Logger()

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
        super().__init__(
            router,
            requestFactory=HappyRequest,
            parsePOSTFormSubmission=False,
            timeout=KEEP_ALIVE_SECONDS,
            reactor=clock,
        )
        self.protocol = FastChannel if fast_requests else HappyChannel  # type: ignore[assignment]
        self.router = router
        self.realtime = realtime
        self.disk = Budget(BODIES_ON_DISK)
        self.origins = router.origins
        self.places = Places(room, self._note_refusal)
        self.processor = Processor(clock)
        self._clock = clock
        self._room = room
        self._silent_until = 0.0
        self._refused = refused
        self._channels: weakref.WeakSet[HappyChannel] = weakref.WeakSet()
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
        self._channels.add(channel)
        return channel

    def _note_refusal(self, why: str) -> None:
        """Count a connection that found no place, or lost it."""
        self._refused()
        self._note("{room} connections are open, which is all there is room for", room=self._room)

    def note_full_disk(self, error: OSError) -> None:
        """A body cannot be kept."""
        self._note("A request's body cannot be written to a file: {fault}", fault=describe_fault(error))

    def _note(self, text: str, **facts: object) -> None:
        """Say so, once a minute."""
        if self._clock.seconds() >= self._silent_until:
            self._silent_until = self._clock.seconds() + SILENCE_SECONDS
            self._log.warn(text, **facts)

    def forget(self, channel: HappyChannel) -> None:
        """A connection is gone, or a WebSocket."""
        self._channels.discard(channel)

    def stop(self) -> Deferred[None]:
        """Answer what is under way, closing every connection after it; fires when nothing is left."""
        self.draining = True
        for channel in list(self._channels):
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
