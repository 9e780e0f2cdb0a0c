"""What a program of any author may ask of the endpoint, and is told by it."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher, textFileLogObserver

from happy.socketio.endpoint import EngineEndpoint, SocketIOEndpoint
from happy.socketio.shared import EndpointSettings, Headers
from happy.socketio.socket import Application, ConnectRefused, Socket
from happy.socketio.standalone import EndpointSite
from happy.wire.engineio import encode_message
from tests.socketio.peers import Peer, PollingPeer, WebSocketPeer, call_id
from tests.socketio.programs import World
from tests.socketio.test_websocket import raw_frame

PATH = "/socket.io/"
POLL = PATH + "?EIO=4&transport=polling"
SOCKET = PATH + "?EIO=4&transport=websocket"


class Greeter(Application):
    """Defines no more than it needs."""

    def joined(self, socket: Socket) -> None:
        socket.emit("address", socket.handshake.address)


def site_of(program: Application, **settings: Any) -> EndpointSite:
    """A site on a clock of its own."""
    clock = Clock()
    return EndpointSite(SocketIOEndpoint(program, EndpointSettings(**settings), clock), clock)


def joined(site: EndpointSite) -> WebSocketPeer:
    """A client in the main namespace."""
    client = WebSocketPeer(site, site.reactor, SOCKET)
    client.receive()
    client.text("40")
    return client


def test_address() -> None:
    """The program knows where a client comes from; it is not kept where the settings say so."""
    assert joined(site_of(Greeter())).texts()[1] == '42["address","127.0.0.1"]'
    assert joined(site_of(Greeter(), keep_address=False)).texts()[1] == '42["address",""]'


class TestGreetingBeforeTheOpen:
    """What a handler sends while it is made."""

    def site(self) -> EndpointSite:
        def serve(connection: Any, handshake: Any) -> Any:
            connection.send(encode_message(b"first"))
            connection.send(encode_message(b"\1", binary=True))
            return _Quiet()

        clock = Clock()
        return EndpointSite(EngineEndpoint(serve, EndpointSettings(), clock), clock)

    def test_websocket(self) -> None:
        """It follows the open packet."""
        site = self.site()
        _accepted, opened, *greetings = WebSocketPeer(site, site.reactor, SOCKET).events
        assert opened.data.startswith('0{"sid"')
        assert [greeting.data for greeting in greetings] == ["4first", b"\1"]

    def test_polling(self) -> None:
        """It comes with the first poll."""
        site = self.site()
        assert PollingPeer(site, site.reactor, PATH).poll().packets == [b"4first", b"bAQ=="]


class _Quiet:
    def message(self, data: bytes, binary: bool) -> None:
        """Nothing is heard."""

    def ended(self, reason: str) -> None:
        """Nothing is kept."""


def test_call_with_many_arguments() -> None:
    """A call takes as many arguments as an event, or none."""
    world = World()
    client = world.websocket()
    answers: list[Any] = []
    number = world.program.socket.call("sum", 1, [2], {"c": 3}, answered=answers.append)
    assert client.texts() == [f'42{number}["sum",1,[2],{{"c":3}}]']
    world.program.socket.call("none", answered=answers.append)
    [asked] = client.texts()
    client.text(f"43{call_id(asked, 'none')}[7,8]")
    assert [[bytes(part) for part in answer] for answer in answers] == [[b"7", b"8"]]


@pytest.mark.parametrize(("data", "told"), [(None, ""), ({"retry": 5.0}, ',"data":{"retry":5}')])
def test_refusal_with_data(data: Any, told: str) -> None:
    """A refused client's program gets what it needs to know."""
    world = World()

    def refuse(socket: Socket) -> None:
        raise ConnectRefused("no", data)

    world.program.decide = refuse
    client = world.websocket(joined=False)
    client.text("40")
    assert client.texts() == [f'44{{"message":"no"{told}}}']


@pytest.mark.parametrize(
    ("frame", "code"),
    [(raw_frame(b"4\xff"), 1007), (raw_frame(b"40", masked=False), 1002), (raw_frame(b"", 0x83), 1002)],
)
def test_close_frames_are_brief(frame: bytes, code: int) -> None:
    """A close frame that the server starts has a code and no text."""
    world = World()
    client = world.websocket()
    client.send(frame)
    assert client.take() == b"\x88\x02" + struct.pack(">H", code)


def test_close_frames_are_echoed() -> None:
    """A client's own close frame comes back as it was."""
    client = World().websocket()
    client.send(raw_frame(struct.pack(">H", 4321) + b"bye", 0x88))
    assert client.take() == b"\x88\x05" + struct.pack(">H", 4321) + b"bye"


class Failing(Application):
    """Fails wherever it can."""

    def connect(self, socket: Socket, auth: Any) -> None:
        if auth is not None:
            raise RuntimeError("what a client sent")

    def event(self, *_details: Any) -> None:
        raise RuntimeError("what a client sent")


def log_of(site: EndpointSite) -> str:
    """What is logged while clients meet failures."""
    written = io.StringIO()
    observer = textFileLogObserver(written)
    globalLogPublisher.addObserver(observer)
    try:
        joined(site).text('42["a"]')
        client = WebSocketPeer(site, site.reactor, SOCKET)
        client.text('40{"token":1}')
    finally:
        globalLogPublisher.removeObserver(observer)
    return written.getvalue()


def test_failures_of_a_program() -> None:
    """Its author finds the traceback in the log."""
    text = log_of(site_of(Failing()))
    assert text.count("Traceback") == 2
    assert "raise RuntimeError" in text
    assert "The handler of an event failed" in text
    assert "The handler of a connect failed" in text


def test_failures_are_the_programs_to_tell() -> None:
    """A program that has secrets decides what is told of a failure."""
    told: list[tuple[str, Exception]] = []
    text = log_of(site_of(Failing(), handler_failed=lambda what, error: told.append((what, error))))
    assert text == ""
    assert [(what, str(error)) for what, error in told] == [
        ("an event", "what a client sent"),
        ("a connect", "what a client sent"),
    ]


class TestOrigins:
    """Which pages may ask is the program's choice."""

    def site(self, **settings: Any) -> EndpointSite:
        def headers(origin: bytes) -> Headers:
            if origin != b"https://good.example":
                return ((b"Vary", b"Origin"),)
            return ((b"Vary", b"Origin"), (b"Access-Control-Allow-Origin", origin))

        preflight = ((b"Access-Control-Max-Age", b"60"),)
        return site_of(Greeter(), headers=headers, preflight_headers=preflight, **settings)

    @pytest.mark.parametrize(
        ("method", "target"), [("GET", POLL), ("OPTIONS", POLL), ("POST", POLL), ("GET", POLL + "&sid=x")]
    )
    @pytest.mark.parametrize("origin", ["https://good.example", "https://bad.example", None])
    def test_polling(self, method: str, target: str, origin: str | None) -> None:
        """Every answer has the headers for the origin that asked, refusals too."""
        site = self.site()
        sent = {} if origin is None else {"Origin": origin}
        answer = Peer(site, site.reactor).ask(method, target, headers=sent)
        allowed = origin if origin == "https://good.example" else None
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers.get("access-control-max-age") == ("60" if method == "OPTIONS" else None)

    @pytest.mark.parametrize("fast", [True, False])
    def test_websocket(self, fast: bool) -> None:
        """So has the answer to an opening handshake."""
        site = self.site(fast_frames=fast)
        client = WebSocketPeer(
            site, site.reactor, SOCKET, extra_headers=[(b"Origin", b"https://good.example")]
        )
        assert b"\r\nAccess-Control-Allow-Origin: https://good.example" in client.head
        assert b"\r\nVary: Origin" in client.head


class TestBodies:
    """A body that no session would take is refused before it is there."""

    HEAD = b"POST " + POLL.encode() + b" HTTP/1.1\r\nHost: x\r\n"

    def refused(self, *parts: bytes) -> bool:
        """Whether the last part is what brings a refusal, and the end of the connection."""
        site = site_of(Greeter(), max_payload=100)
        peer = Peer(site, site.reactor)
        for part in parts[:-1]:
            peer.send(part)
            assert peer.take() == b""
        peer.send(parts[-1])
        answer = peer.response()
        return answer is not None and answer.status == 413 and peer.closed

    def test_announced(self) -> None:
        """By the length that its head gives."""
        assert self.refused(self.HEAD + b"Content-Length: 101\r\n\r\n")

    def test_in_chunks(self) -> None:
        """As soon as the chunks are too many."""
        chunk = b"40\r\n" + bytes(64) + b"\r\n"
        assert self.refused(self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk + b"0\r\n\r\n")

    def test_not_refused(self) -> None:
        """One of just that length is read."""
        site = site_of(Greeter(), max_payload=100)
        client = PollingPeer(site, site.reactor, PATH)
        assert client.post(b"4" * 100).status == 200

    def test_elsewhere(self) -> None:
        """There is nothing but the endpoint."""
        site = site_of(Greeter())
        assert Peer(site, site.reactor).ask("GET", "/").status == 404
