"""The servers that the client suites of the peers run against, on ``happy.socketio`` alone.

Both say by their tests what they need: ``test/support/hooks.js`` of engine.io-client, ``server.ts`` of
socket.io-client.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw
from twisted.web.http import Request

from happy.socketio.connection import new_id
from happy.socketio.endpoint import EndpointSettings, EngineEndpoint, SocketIOEndpoint
from happy.socketio.engine import EngineConnection
from happy.socketio.socket import (
    Acknowledge,
    Application,
    Arguments,
    Attachment,
    ConnectRefused,
    EncodedPacket,
    Handshake,
    Socket,
    encode_event,
)
from happy.socketio.standalone import EndpointRequest, EndpointSite
from happy.wire.engineio import encode_message

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

COOKIES = (
    b"1=1; Max-Age=86400",
    b"2=2; Path=/; HttpOnly; Secure; SameSite=Strict",
    b"3=3; Max-Age=0",
    b"4=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
)
"""Two that a client keeps, and two that are over."""

ANSWERS_AFTER = 0.01
"""Seconds that opening a Socket.IO connection takes, for clients that are to find that too long."""


class Bouncing:
    """Greets, and sends messages back; two of them are wishes for others."""

    def __init__(
        self, connection: EngineConnection, handshake: Handshake, site: Callable[[], EngineSite]
    ) -> None:
        self._connection = connection
        self._site = site
        connection.send(encode_message(b"hi", binary=False))

    def message(self, data: bytes, binary: bool) -> None:
        """Answer it."""
        if data == b"give binary":
            data, binary = bytes(range(5)), True
        elif data == b"give utf8":
            data = "пойду спать всем спокойной ночи".encode()
        elif data == b"sendHeaders":
            data = json.dumps(self._site().posted).encode()
        self._connection.send(encode_message(data, binary=binary))

    def ended(self, reason: str) -> None:
        """Nothing is kept."""


class EngineSuiteRequest(EndpointRequest):
    """Gives cookies to who opens a session, and refuses those that ask for it."""

    def process(self) -> None:
        """Answer."""
        site = cast("EngineSite", self.channel.site)
        if b"sid" not in self.args:
            if b"deny" in self.args:
                _forbid(self)
                return
            self.responseHeaders.setRawHeaders(b"Set-Cookie", COOKIES)
        elif self.method == b"POST":
            names = self.requestHeaders.getAllRawHeaders()
            site.posted = {name.decode().lower(): b", ".join(values).decode() for name, values in names}
        super().process()


def _forbid(request: Request) -> None:
    request.setResponseCode(403)
    request.setHeader(b"Content-Type", b"application/json")
    request.write(b'{"code":4,"message":"Forbidden"}')
    request.finish()


class EngineSite(EndpointSite):
    """``posted`` are the headers of the latest POST."""

    def __init__(self, clock: IReactorTime) -> None:
        settings = EndpointSettings(path="/engine.io/", ping_interval=0.5, max_payload=100)
        endpoint = EngineEndpoint(lambda *on: Bouncing(*on, lambda: self), settings, clock)
        super().__init__(endpoint, clock)
        self.requestFactory = EngineSuiteRequest
        self.posted: Mapping[str, str] = {}


class SlowRequest(EndpointRequest):
    """One that opens a connection takes a moment."""

    def process(self) -> None:
        """Answer, soon."""
        if b"sid" in self.args:
            super().process()
        else:
            self.channel.site.reactor.callLater(ANSWERS_AFTER, super().process)


class SocketSite(EndpointSite):
    """The site of socket.io-client's suite."""

    def __init__(self, clock: IReactorTime) -> None:
        settings = EndpointSettings(
            ping_interval=2.0, kept_headers=("host", "user-agent", "accept", "x-test")
        )
        super().__init__(SocketIOEndpoint(Asked(), settings, clock), clock)
        self.requestFactory = SlowRequest


class Session:
    """What a client can continue: the id of its socket, and what it was told, with how far it has heard."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.told: list[tuple[str, EncodedPacket]] = []

    def since(self, offset: str) -> list[EncodedPacket]:
        """What came after an offset."""
        offsets = [known for known, _ in self.told]
        return [packet for _, packet in self.told[offsets.index(offset) + 1 :]]


class Asked(Application):
    """Does what the clients of the suite ask for, by events of agreed names."""

    namespaces = ("/", "/foo", "/timeout_socket", "/valid", "/asd", "/abc", "/no")

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def connect(self, socket: Socket, auth: Raw | None) -> None:
        """Let everybody in that does not want to be refused; continue what was broken off."""
        if socket.namespace == "/no":
            raise ConnectRefused("Auth failed (custom namespace)")
        if socket.namespace == "/" and socket.handshake.query.get("fail"):
            raise ConnectRefused("Auth failed (main namespace)")
        presented = json.loads(bytes(auth)) if auth is not None else {}
        socket.program = presented
        session = self._sessions.get(presented.get("pid", ""))
        if session is None or "offset" not in presented:
            socket.pid = new_id()
            self._sessions[socket.pid] = Session(socket.id)
        else:
            socket.pid, socket.id = presented["pid"], session.id
            socket.missed = session.since(presented["offset"])

    def joined(self, socket: Socket) -> None:
        """Tell what is known, where that is asked for."""
        if socket.namespace == "/abc":
            self._tell(socket, "handshake", _known(socket))

    def event(self, socket: Socket, name: str, arguments: Sequence[Raw], ack: Acknowledge | None) -> None:
        """Act as the name says."""
        assert isinstance(arguments, Arguments)
        if name == "ack":
            socket.call("ack", answered=lambda answer: self._answered(socket, answer))
            return
        for told in _ANSWERS.get(name, lambda values: ())(arguments.values()):
            self._tell(socket, *told)
        if ack is not None and name in _ACKNOWLEDGED:
            ack(*_ACKNOWLEDGED[name](socket, arguments.values()))

    def disconnected(self, socket: Socket, reason: str) -> None:
        """Its session stays: there are not many in a suite."""

    def _tell(self, socket: Socket, name: str, *values: Any) -> None:
        session, offset = self._sessions[socket.pid or ""], new_id()
        packet = encode_event(name, *values, offset, namespace=socket.namespace)
        session.told.append((offset, packet))
        socket.send(packet)

    def _answered(self, socket: Socket, answer: Sequence[Raw] | None) -> None:
        if answer is not None and [json.loads(bytes(one)) for one in answer] == [5, {"test": True}]:
            self._tell(socket, "got it")


def _known(socket: Socket) -> dict[str, Any]:
    handshake = socket.handshake
    known = {"headers": handshake.headers, "address": handshake.address, "query": handshake.query}
    return {**known, "auth": socket.program, "time": _date()}


def _date() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _if(holds: bool, name: str) -> list[tuple[str]]:
    return [(name,)] if holds else []


def _is_binary(value: Any) -> bool:
    return isinstance(value, Attachment)


def _is_mixed(value: Any) -> bool:
    return _is_binary(value.get("message")) and (value["hello"], value["goodbye"]) == ("lol", "gotcha")


_TEXTS = ("てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string")

_ANSWERS: dict[str, Callable[[list[Any]], Sequence[tuple[Any, ...]]]] = {
    "hi": lambda values: [("hi",)],
    "false": lambda values: [("false", False)],
    "getDate": lambda values: [("takeDate", _date())],
    "getDateObj": lambda values: [("takeDateObj", {"date": _date()})],
    "getUtf8": lambda values: [("takeUtf8", text) for text in _TEXTS],
    "doge": lambda values: [("doge", Attachment(b"asdfasdf"))],
    "getbin": lambda values: [("takebin", Attachment(b"asdfasdf"))],
    "buffa": lambda values: _if(_is_binary(values[0]), "buffack"),
    "blob": lambda values: _if(_is_binary(values[0]), "back"),
    "jsonbuff": lambda values: _if(_is_mixed(values[0]), "jsonbuff-ack"),
    "jsonblob": lambda values: _if(_is_mixed(values[0]), "jsonblob-ack"),
    "abuff2": lambda values: [("abuff2-ack",)],
    "blob3": lambda values: _if(_is_binary(values[0]), "blob3-ack"),
}
"""By the name of an event: what is told then, given its arguments."""

_ACKNOWLEDGED: dict[str, Callable[[Socket, list[Any]], Sequence[Any]]] = {
    "echo": lambda socket, values: values[:1],
    "getAckDate": lambda socket, values: [_date()],
    "getHandshake": lambda socket, values: [_known(socket)],
    "getId": lambda socket, values: [socket.id],
}
"""By the name of an event that is to be acknowledged: with what; others are not."""


def main() -> None:
    """Serve both until stopped, and say so."""
    from twisted.internet import reactor

    reactor.listenTCP(3000, EngineSite(reactor), interface="127.0.0.1")
    reactor.listenTCP(3210, SocketSite(reactor), interface="127.0.0.1")
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main()
