"""What the connections of a site and their requests have in common (http.md 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

from twisted.logger import Logger
from twisted.web.server import Site

from happy.api.declare import MIB
from happy.base.bounds import Budget
from happy.base.redaction import describe_fault
from happy.web.places import KEEP_ALIVE_SECONDS, Places
from happy.web.shares import Processor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import HTTPChannel, Request

    from happy.web.resource import Router
    from happy.wire.heads import Usual

SILENCE_SECONDS: Final = 60.0
BODIES_ON_DISK: Final = 512 * MIB
"""Bytes of large bodies that may be in the house: being received, or of requests without an answer."""


class SocketEndpoint(Protocol):
    """What requests need of :class:`happy.socketio.endpoint.SocketIOEndpoint`."""

    @property
    def largest_body(self) -> int:
        """The most bytes that one request may carry."""

    @property
    def websockets(self) -> int:
        """How many connections it has taken over."""

    def handles(self, path: bytes) -> bool:
        """Whether a request target is the realtime transport's."""

    def take(self, channel: HTTPChannel, usual: Usual) -> bool:
        """Take the connection over if a request of that path is a plain upgrade; if not, nothing is done."""

    def begin(self, request: Request) -> None:
        """The head of a request of that path is there; may answer it at once."""

    def lose(self, request: Request) -> None:
        """The connection of a request broke before its body was complete."""

    def render(self, request: Request) -> None:
        """Answer a request of that path, or take over its connection."""

    def refuse(self, request: Request, status: int) -> None:
        """Answer a request whose body is not read: too large (413), or too much altogether (503)."""


class ServingSite(Site):
    """What a request is answered by, and what all connections share.

    At most ``room`` connections are served at a time; ``refused`` is told of every further one.
    """

    draining = False
    _log = Logger()

    def __init__(
        self,
        router: Router,
        realtime: SocketEndpoint | None,
        clock: IReactorTime,
        request_factory: Any,
        room: int,
        refused: Callable[[], None],
    ) -> None:
        super().__init__(
            router,
            requestFactory=request_factory,
            parsePOSTFormSubmission=False,
            timeout=KEEP_ALIVE_SECONDS,
            reactor=clock,
        )
        self.router = router
        self.realtime = realtime
        self.disk = Budget(BODIES_ON_DISK)
        self.origins = router.origins
        self.places = Places(room, self._note_refusal)
        self.processor = Processor(clock)
        self.channels: WeakSet[Any] = WeakSet()
        """The connections, other than those that have become WebSockets."""
        self._clock = clock
        self._room = room
        self._silent_until = 0.0
        self._refused = refused

    def forget(self, channel: HTTPChannel) -> None:
        """A connection is gone, or a WebSocket."""
        self.channels.discard(channel)

    def note_full_disk(self, error: OSError) -> None:
        """A body cannot be kept."""
        self._note("A request's body cannot be written to a file: {fault}", fault=describe_fault(error))

    def _note_refusal(self, why: str) -> None:
        """Count a connection that found no place, or lost it."""
        self._refused()
        self._note("{room} connections are open, which is all there is room for", room=self._room)

    def _note(self, text: str, **facts: object) -> None:
        """Say so, once a minute."""
        if self._clock.seconds() >= self._silent_until:
            self._silent_until = self._clock.seconds() + SILENCE_SECONDS
            self._log.warn(text, **facts)
