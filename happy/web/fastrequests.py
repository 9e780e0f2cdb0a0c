"""Usual requests, without Twisted's general parser and its header objects.

Nearly every request arrives in one piece and looks like any other. :class:`FastChannel` recognises such a
request itself (:mod:`happy.wire.heads`), and its answer leaves in one write; everything else, including what
is wrong, too large or one of several, is Twisted's and :mod:`happy.web.channel`'s. So the behaviour stays
the same (``tests/web/test_fastrequests.py`` compares the two on random input). An answer that is not simply
bytes is sent by a :class:`~happy.web.request.HappyRequest`, which takes the place of the fast one.

Of what ``HTTPChannel`` keeps for itself, ``_handlingRequest`` and ``_savedTimeOut`` are used here. While a
fast request is under way they are as they would be for any other request that is complete.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from io import BytesIO
from typing import TYPE_CHECKING, Final, TypeVar, cast

from twisted.web.http import NO_BODY_CODES

from happy.api.declare import MIB
from happy.api.payload import Payload, payload_of
from happy.web.bodies import SMALL
from happy.web.channel import HappyChannel
from happy.web.places import KEEP_ALIVE_SECONDS
from happy.web.routes import local_target
from happy.web.sending import AT_ONCE, TINY, head_of
from happy.web.streaming import is_full
from happy.wire.heads import Usual, closes, parse_usual

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from happy.api.answers import Answer
    from happy.web.bodies import DecodingRoom
    from happy.web.request import HappyRequest
    from happy.web.routes import Target
    from happy.web.sending import Sender

T = TypeVar("T")

_GET: Final = b"GET"


class FastRequest:
    """A request that was complete as soon as it was seen."""

    __slots__ = ("_connection", "_usual", "channel", "header", "large", "target")

    def __init__(self, channel: FastChannel, usual: Usual, target: Target) -> None:
        self.header: Callable[[str], str | None] = usual.headers.get
        """The value of a header; its name is in lower case."""
        self.channel: FastChannel | None = channel
        self.target = target
        self.large: DecodingRoom | None = None
        self._usual = usual
        self._connection = channel

    @property
    def owner(self) -> str:
        """Who pays for what it takes."""
        return self._connection.keep.owner

    def forwarded_for(self) -> str | None:
        """What the header ``X-Forwarded-For`` says."""
        return self._usual.headers.get("x-forwarded-for")

    def secure(self) -> bool:
        """Whether it came through TLS."""
        return bool(self._connection.isSecure())

    def peer(self) -> object:
        """The address of the connection's other side."""
        address: object = self._connection.getPeer()
        return address

    def payload(self) -> Payload:
        """The body; raises :class:`~happy.api.payload.UnsupportedMedia`."""
        body = BytesIO(self._usual.body)
        return payload_of(self.target.method, self.header("content-type"), self.size(), body)

    def size(self) -> int:
        """The bytes of the body."""
        return len(self._usual.body)

    def in_turns(self, steps: Generator[None, None, T]) -> Awaitable[T]:
        """Go through steps of some milliseconds, between others' work; answers and raises what they do."""
        return self._connection.share.in_turns(steps)

    def release(self) -> None:
        """Let others have the room that the request took."""
        keep = self._connection.keep
        if len(self._usual.body) > SMALL:
            keep.give_back(len(self._usual.body))
        keep.done()

    def lose_body(self) -> None:
        """There is none that is being received."""

    def refuse_lost(self) -> bool:
        """Nor need one be refused."""
        return False

    def connectionLost(self, reason: Failure) -> None:
        """The client has left; the work goes on."""
        self.channel = None

    async def send(self, answer: Answer, sender: Sender, payer: Callable[[], str], *, cors: bool) -> int:
        """Send ``answer`` unless the client has left; returns the status."""
        channel = self.channel
        if channel is None:
            return answer.status
        content = answer.content
        if not isinstance(content, bytes) or len(content) > AT_ONCE or _unusual(answer, channel):
            return await sender.send(self._replaced(channel), answer, payer(), cors=cors)
        if len(content) > TINY or not channel.persistent:
            sender.unsent.wrote(channel.transport, payer())
        channel.answer(self, answer, content, cors=cors)
        self.channel = None
        return answer.status

    def _replaced(self, channel: FastChannel) -> HappyRequest:
        """A request of the usual kind, in the place of this one."""
        request = cast("HappyRequest", channel.requestFactory(channel, False))
        for name, value in self._usual.headers.items():
            request.requestHeaders.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
        request.adopt(self._usual.method, self.target)
        channel.requests[0] = request
        self.channel = None
        return request


def _unusual(answer: Answer, channel: FastChannel) -> bool:
    """Whether there are headers of its own or none about its content, or the connection has no room."""
    bare = answer.content_type is None or answer.status in NO_BODY_CODES
    return bare or bool(answer.headers) or is_full(channel)


class FastChannel(HappyChannel):
    """An HTTP/1.1 connection that behaves as its base, with less work for each usual request."""

    def connectionMade(self) -> None:
        """The idle time begins."""
        super().connectionMade()
        self._savedTimeOut = self.timeOut  # what requestDone restarts the idle time with

    def dataReceived(self, data: bytes) -> None:
        """Take a usual request that comes by itself; all else is the base's."""
        if self._ahead or self._handlingRequest or self._refused:
            super().dataReceived(data)
            return
        began = self.share.begin()
        if began is None or not self._take_usual(data):
            super().dataReceived(data)
        else:
            self.share.charge(began)

    def _take(self, data: bytes) -> bytes:
        """As the base, for what had to wait too."""
        return b"" if self._take_usual(data) else super()._take(data)

    def _take_usual(self, data: bytes) -> bool:
        """Serve the usual request that ``data`` is; False, and nothing done, if it is something else."""
        if self.requests or self._head is not None or self.transport.disconnecting:
            return False
        usual = parse_usual(data)
        return usual is not None and self._begin(usual)

    def _begin(self, usual: Usual) -> bool:
        """Serve a usual request, unless there is more to know about it."""
        site = self.site
        if site.realtime is not None and site.realtime.handles(local_target(usual.uri)):
            self.charge(usual.headers.get("x-forwarded-for"))
            return site.realtime.take(self, usual)
        if "upgrade" in usual.headers:
            return False
        size = len(usual.body)
        target = site.router.target(usual.method, usual.uri)
        if size > min(target.limit, MIB) or (size and usual.method == _GET):
            return False
        self.charge(usual.headers.get("x-forwarded-for"))
        if size > SMALL and not self.keep.take(size):
            return False
        self.keep.begin()
        self._handle(FastRequest(self, usual, target))
        return True

    def _handle(self, request: FastRequest) -> None:
        """Be in the state of a channel that has received a whole request, and answer it."""
        wish = request.header("connection")
        self.persistent = not self.site.draining and (wish is None or not closes(wish.encode("latin-1")))
        self.requests.append(request)
        self._handlingRequest = True
        if self.site.places.crowded:
            self.place.use()
        self.site.router.answer(request, None)

    def answer(self, request: FastRequest, answer: Answer, content: bytes, *, cors: bool) -> None:
        """Send an answer of bytes, and go on with what came meanwhile."""
        stays = bool(self.persistent) and not self.site.draining
        self.persistent = stays
        self.transport.write(head_of(answer, len(content), cors=cors, stays=stays) + content)
        self.requestDone(request)

    def timeoutConnection(self) -> None:
        """As the base; but what a fast request takes to answer does not count, it is only not stopped for."""
        if self.requests and self._handlingRequest:
            self.setTimeout(KEEP_ALIVE_SECONDS)
        else:
            super().timeoutConnection()

    def loseConnection(self) -> None:
        """As the base, whose requests have stopped the time by now."""
        self.setTimeout(None)
        super().loseConnection()
