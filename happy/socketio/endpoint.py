"""The realtime endpoint: what of HTTP reaches Engine.IO, and the sessions it leads to.

Sources: realtime.md A.1, A.2, A.8, A.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from happy.socketio import polling, upgrade
from happy.socketio.connection import SocketConnection, new_id
from happy.socketio.engine import EngineConnection, Handler
from happy.socketio.fastframes import FastWebSocket
from happy.socketio.shared import EndpointSettings, Shared
from happy.socketio.socket import Application, Handshake
from happy.socketio.websocket import EngineWebSocket, EngineWebSocketFactory
from happy.wire.engineio import POLLING, SEPARATOR, WEBSOCKET, EngineProblem, Refused, check_request
from happy.wire.socketio import SHUTTING_DOWN

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request

    from happy.wire.heads import Usual

__all__ = ("EndpointSettings", "EngineEndpoint", "SocketIOEndpoint")

_OCTETS: Final = b"application/octet-stream"
_OF_TRANSPORT: Final = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})
_NOTHING: Final[Mapping[str, str]] = {}

Serve = Callable[[EngineConnection, Handshake], Handler]
"""Puts a handler on a connection that is about to open."""

Header = Callable[[str], str | None]
"""All values of a request's header, by its lower-case name, joined by ``", "``."""

OwnerOf = Callable[[Any], str]
"""Who pays for what is kept for a client that nobody knows yet, given the HTTP channel of its request."""


def peer_host(channel: Any) -> str:
    """The host at the other end of a channel's connection; empty where there is none, as on a UNIX socket."""
    return getattr(channel.transport.getPeer(), "host", "")


class EngineEndpoint:
    """Serves Engine.IO under a path; ``serve`` makes what sits on each connection.

    ``owner_of`` names who pays for a connection until :meth:`~happy.socketio.engine.EngineConnection.pay_as`.
    """

    def __init__(
        self,
        serve: Serve,
        settings: EndpointSettings,
        clock: IReactorTime,
        owner_of: OwnerOf = peer_host,
    ) -> None:
        self.settings = settings
        self._serve = serve
        self._clock = clock
        self._owner_of = owner_of
        self._connections: dict[str, EngineConnection] = {}
        self._shared = Shared(settings, clock)
        kind = FastWebSocket if settings.fast_frames else EngineWebSocket
        self._factory = EngineWebSocketFactory(settings, clock, kind, self._shared)
        self._prefix = settings.path.encode()
        self._bare = self._prefix.rstrip(b"/") + b"?"
        self._closed = False
        self.admitting = True
        """Whether there may be new sessions; those that there are go on in any case."""

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return len(self._connections)

    @property
    def websockets(self) -> int:
        """How many connections of the web server have become WebSockets."""
        return len(self._factory.open)

    @property
    def largest_body(self) -> int:
        """The bytes that a POST may have; a larger one need not be read before :meth:`refuse`."""
        return self.settings.max_payload

    def begin(self, request: Request) -> None:
        """The head of a request is there, its body is not yet; :meth:`render`, :meth:`refuse` or
        :meth:`lose` follows, unless the request is answered at once.

        Calling it is optional. Without it, POSTs whose bodies arrive at the same time, or never to their
        end, go unnoticed (realtime.md A.4).
        """
        connection = self._posted_to(request)
        if connection is not None:
            self._introduce(request)
            connection.begin_post(request)

    def lose(self, request: Request) -> None:
        """The connection of a request broke before its body was complete."""
        connection = self._posted_to(request)
        if connection is not None:
            connection.lose_post(request)

    def refuse(self, request: Request, status: int = 413) -> None:
        """Answer a request whose body is not read (realtime.md A.4); its session goes on."""
        connection = self._posted_to(request)
        if connection is not None:
            connection.refuse_post(request)
        self._introduce(request)
        polling.respond(request, status)

    def handles(self, path: bytes) -> bool:
        """Whether a request target (``request.uri``, query and all) is this endpoint's.

        The path's last slash may be missing before a query, which every transport has.
        """
        return path.startswith((self._prefix, self._bare))

    def render(self, request: Request) -> None:
        """Answer a request, now or later, or take its connection over.

        To be called from ``Request.process``, when the whole body is there, on a request of a
        :class:`twisted.web.http.HTTPChannel` (not HTTP/2). The endpoint calls ``finish`` by itself.

        For an upgrade, whatever timers the channel has beyond its own idle timeout must be stopped before.
        The connection then has another protocol: neither ``request.finish`` nor ``request.notifyFinish`` nor
        ``connectionLost`` of channel and request will happen, and nobody may touch them again.
        """
        self._introduce(request)
        if request.method == b"OPTIONS":
            polling.answer_preflight(request, self.settings.preflight_headers)
        elif upgrade.wants_upgrade(request):
            self._upgrade(request)
        else:
            self._plain(request)

    def take(self, channel: Any, usual: Usual) -> bool:
        """Serve an upgrade request, not parsed by twisted.web, that opens a session in the usual way.

        ``channel`` is an idle :class:`twisted.web.http.HTTPChannel`, whose connection is taken over as by
        :meth:`render`. False, and nothing done, for all other requests.
        """
        opening = upgrade.read_opening(usual) if self.settings.fast_frames else None
        if opening is None:
            return False
        query = _query(usual.uri)
        if query.get("sid") or query.get("transport") != WEBSOCKET:
            return False
        origin = usual.headers.get("origin", "").encode("latin-1")
        try:
            self._check(origin, query, upgrading=True)
        except Refused:
            return False
        connection = self._open(channel, usual.headers.get, query)
        if connection is None:
            return False
        websocket = self._factory.build()
        upgrade.take_over(channel, websocket, opening, self.settings.headers(origin))
        connection.open_websocket(websocket)
        return True

    def stop(self) -> Deferred[None]:
        """End every session, and serve no new ones.

        Sockets end as ``server shutting down``, with a bare close and no DISCONNECT. Fires when every
        WebSocket is gone, which takes ``settings.close_timeout`` at most.
        """
        self._closed = True
        for connection in list(self._connections.values()):
            connection.shut(SHUTTING_DOWN)
            connection.discard()
        self._connections.clear()
        for websocket in list(self._factory.open):
            websocket.close()
        return self._factory.all_closed()

    def _check(
        self, origin: bytes, query: Mapping[str, str], *, upgrading: bool, method: str = "GET"
    ) -> str | None:
        if self._closed:
            raise Refused(EngineProblem.FORBIDDEN)
        return check_request(
            method, query, upgrade=upgrading, origin=origin, sessions=self._connections.keys()
        )

    def _session_of(self, request: Request, query: Mapping[str, str], *, upgrading: bool) -> str | None:
        """As :func:`check_request`."""
        method = request.method.decode("latin-1")
        return self._check(_origin_of(request), query, upgrading=upgrading, method=method)

    def _introduce(self, request: Request) -> None:
        """Whoever answers, the answer has the program's headers, once."""
        for name, value in self.settings.headers(_origin_of(request)):
            request.setHeader(name, value)

    def _posted_to(self, request: Request) -> EngineConnection | None:
        """The session that a request sends packets to, if it does so in due form."""
        if request.method != b"POST" or upgrade.wants_upgrade(request):
            return None
        try:
            sid = self._session_of(request, _query(request.uri), upgrading=False)
        except Refused:
            return None
        return None if sid is None else self._connections[sid]

    def _plain(self, request: Request) -> None:
        query = _query(request.uri)
        try:
            sid = self._session_of(request, query, upgrading=False)
        except Refused as refusal:
            if not self._elsewhere(request, query, refusal.problem):
                polling.refuse(request, refusal.problem)
            return
        if sid is None:
            connection = self._open(request.channel, _headers_of(request), query)
            if connection is None:
                polling.respond(request, 503)
            else:
                connection.open_polling(request)
        elif request.method == b"GET":
            self._connections[sid].poll(request)
        elif request.method == b"POST":
            self._post(request, self._connections[sid])
        else:
            polling.refuse(request, EngineProblem.BAD_HANDSHAKE_METHOD)

    def _elsewhere(self, request: Request, query: Mapping[str, str], problem: EngineProblem) -> bool:
        """Whether somebody else answers, who has the session."""
        return problem is EngineProblem.UNKNOWN_SID and self.settings.elsewhere(request, query["sid"])

    def _post(self, request: Request, connection: EngineConnection) -> None:
        if (request.getHeader(b"Content-Type") or b"").startswith(_OCTETS):
            connection.break_off()
            polling.refuse(request, None)
            return
        assert request.content is not None
        body = request.content.read(self.settings.max_payload + 1)
        # As many packets as nobody has to send are no different from as many bytes.
        if len(body) > self.settings.max_payload or body.count(SEPARATOR) >= self.settings.max_packets:
            self.refuse(request)
        else:
            connection.post(request, body)

    def _upgrade(self, request: Request) -> None:
        query = _query(request.uri)
        try:
            sid = self._session_of(request, query, upgrading=True)
            if not upgrade.acceptable(request):
                raise Refused(EngineProblem.BAD_REQUEST)
        except Refused as refusal:
            if not (upgrade.acceptable(request) and self._elsewhere(request, query, refusal.problem)):
                polling.refuse_upgrade(request, refusal.problem.message)
            return
        start = self._start_of(request, query, sid)
        if start is None:
            polling.refuse_upgrade(request, "Service Unavailable", 503)
            return
        websocket = self._factory.build()
        headers = self.settings.headers(_origin_of(request))
        early = upgrade.take_over(request.channel, websocket, upgrade.asked_opening(request), headers)
        start(websocket)
        # Without this cycle, channel and request are freed at once.
        request.channel = None  # type: ignore[assignment]
        if early:
            websocket.dataReceived(early)

    def _start_of(
        self, request: Request, query: Mapping[str, str], sid: str | None
    ) -> Callable[[EngineWebSocket], None] | None:
        """What a WebSocket is for; None if there is no place for one more session."""
        if query["transport"] == POLLING:
            return EngineWebSocket.close
        if sid is not None:
            return self._connections[sid].offer
        connection = self._open(request.channel, _headers_of(request), query)
        return None if connection is None else connection.open_websocket

    def _open(self, channel: Any, header: Header, query: Mapping[str, str]) -> EngineConnection | None:
        """A new session; None if there is no place for one more."""
        if not self.admitting:
            return None
        sid, owner = self.settings.sid_prefix + new_id(), self._owner_of(channel)
        connection = EngineConnection(sid, self.settings, self._clock, self._shared, owner, self._forget)
        address = peer_host(channel) if self.settings.keep_address else ""
        handshake = self._handshake(header, query, address)
        if not connection.enter(handshake.size):
            return None
        connection.handler = self._serve(connection, handshake)
        self._connections[sid] = connection
        return connection

    def _forget(self, sid: str) -> None:
        self._connections.pop(sid, None)

    def _handshake(self, header: Header, query: Mapping[str, str], address: str) -> Handshake:
        headers = {}
        for name in self.settings.kept_headers:
            value = header(name)
            if value is not None:
                headers[name] = value
        own = {name: value for name, value in query.items() if name not in _OF_TRANSPORT}
        return Handshake(headers or _NOTHING, own or _NOTHING, address)


class SocketIOEndpoint(EngineEndpoint):
    """Serves a Socket.IO application."""

    def __init__(
        self,
        application: Application,
        settings: EndpointSettings,
        clock: IReactorTime,
        owner_of: OwnerOf = peer_host,
    ) -> None:
        def serve(connection: EngineConnection, handshake: Handshake) -> Handler:
            return SocketConnection(connection, handshake, application, clock, settings)

        super().__init__(serve, settings, clock, owner_of)


def _origin_of(request: Request) -> bytes:
    return request.getHeader(b"Origin") or b""


def _headers_of(request: Request) -> Header:
    def header(name: str) -> str | None:
        values = request.requestHeaders.getRawHeaders(name.encode())
        return b", ".join(values).decode("latin-1") if values else None

    return header


def _query(uri: bytes) -> Mapping[str, str]:
    """The query parameters; of a repeated one, the last."""
    _, _, text = uri.partition(b"?")
    if b"%" in text or b"+" in text:
        return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True))
    pairs = [part.partition("=") for part in text.decode("latin-1").split("&") if part]
    return {name: value for name, _, value in pairs}
