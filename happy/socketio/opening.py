"""Opening WebSockets without Autobahn's parser of HTTP requests.

A request that leads here has been parsed and checked; all that is left is to answer it, and to have a
protocol in the state that Autobahn leaves it in. :func:`learn` lets Autobahn open one WebSocket, with nobody
on the other side, and keeps what came of it: the answer, and the protocol's attributes, which become those
of a class. A WebSocket of this class is open as soon as it has a transport
(``tests/socketio/test_opening.py`` compares it with one that Autobahn has opened).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from happy.socketio.shared import Headers

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SOME_KEY: Final = b"AAAAAAAAAAAAAAAAAAAAAA=="
_ACCEPT: Final = b"Sec-WebSocket-Accept: "
_CONNECTED: Final = frozenset({"connected", "transport"})


class Unopened(Protocol):
    """A WebSocket that has no transport yet."""

    def begin(self, transport: Any, key: bytes, subprotocol: bytes, headers: Headers) -> None:
        """Answer the opening handshake."""


def opening(key: bytes, subprotocol: bytes) -> bytes:
    """A request with nothing but what makes a WebSocket of it."""
    lines = [
        b"GET / HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + key,
    ]
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def learn(websocket: Unopened) -> dict[str, Any] | None:
    """The attributes of a class of WebSockets that are open at once, derived from a fresh ``websocket``.

    None if Autobahn leaves something in it that two WebSockets cannot share.
    """
    nobody = _Nobody()
    websocket.begin(nobody, _SOME_KEY, b"", ())
    attributes = {name: value for name, value in vars(websocket).items() if name not in _CONNECTED}
    head, found, rest = nobody.written.partition(_ACCEPT)
    if not (found and rest == _accept(_SOME_KEY) and all(map(_is_constant, attributes.values()))):
        return None
    return {**attributes, "__init__": _nothing, "begin": _begin, "answer_head": head}


def _begin(self: Any, transport: Any, key: bytes, subprotocol: bytes, headers: Headers) -> None:
    self.transport = transport
    self.connected = 1
    self.factory.countConnections += 1
    chosen = b"Sec-WebSocket-Protocol: " + subprotocol + b"\r\n" if subprotocol else b""
    own = b"".join([b"%s: %s\r\n" % header for header in headers])
    transport.write(self.answer_head + own + chosen + _ACCEPT + _accept(key))
    self.onOpen()


def _nothing(self: Any) -> None:
    """All there is to make is in the class."""


def _accept(key: bytes) -> bytes:
    """The answer to a key, and the end of the response."""
    return base64.b64encode(hashlib.sha1(key + _MAGIC).digest()) + b"\r\n\r\n"


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, bytes))


class _Nobody:
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def getPeer(self) -> None:
        """There is none."""

    getHost = getPeer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Never full."""
