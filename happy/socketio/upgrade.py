"""Handing a WebSocket upgrade request over from twisted.web to Autobahn.

twisted.web has parsed the request, and its channel is still the connection's protocol. The hand-over
replaces the channel, passes on what the client sent after the request, and leaves nothing of twisted.web
behind: no timer, no producer, no reference.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.protocols.policies import ProtocolWrapper

if TYPE_CHECKING:
    from twisted.web.http import Request

    from happy.socketio.shared import Headers
    from happy.socketio.websocket import EngineWebSocket
    from happy.wire.heads import Usual

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_KEY_BYTES: Final = 16


class Opening(NamedTuple):
    """What an opening handshake asks for; ``subprotocol`` may be empty."""

    key: bytes
    subprotocol: bytes


def read_opening(usual: Usual) -> Opening | None:
    """The opening handshake that a request is; None for whatever is different or wrong.

    That is for those to answer who judge requests: twisted.web and :func:`acceptable`.
    """
    headers = usual.headers
    if usual.method != b"GET" or "content-length" in headers or not _upgrades(headers):
        return None
    key = headers.get("sec-websocket-key", "").encode("latin-1")
    subprotocol = headers.get("sec-websocket-protocol", "").partition(",")[0].strip().encode("latin-1")
    if not _is_key(key) or (subprotocol and not _TOKEN.fullmatch(subprotocol)):
        return None
    return Opening(key, subprotocol)


def _upgrades(headers: Mapping[str, str]) -> bool:
    return (
        headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in [token.strip() for token in headers.get("connection", "").lower().split(",")]
        and headers.get("sec-websocket-version") == "13"
    )


def wants_upgrade(request: Request) -> bool:
    """Whether the client wants to leave HTTP for WebSocket."""
    return b"websocket" in _tokens(request, b"Upgrade") and b"upgrade" in _tokens(request, b"Connection")


def acceptable(request: Request) -> bool:
    """Whether the opening handshake is in order (RFC 6455 section 4.2.1)."""
    return (
        request.method == b"GET"
        and request.clientproto == b"HTTP/1.1"
        and request.getHeader(b"Sec-WebSocket-Version") == b"13"
        and _is_key(request.getHeader(b"Sec-WebSocket-Key") or b"")
        and _TOKEN.fullmatch(offered_subprotocol(request) or b"none") is not None
        and request.getHeader(b"Content-Length") in (None, b"0")
        and request.getHeader(b"Transfer-Encoding") is None
    )


def take_over(channel: Any, websocket: EngineWebSocket, opening: Opening, headers: Headers) -> bytes:
    """Make ``websocket`` the protocol of a channel's connection, and answer its opening handshake.

    :param headers: what the answer has beyond what the handshake asks for.

    :return: what the client already sent after the request; pass it to ``websocket.dataReceived`` once
        ``websocket`` has an owner. What is still on its way reaches it by itself.
    """
    transport: Any = channel.transport
    place = detach(channel, websocket)
    if place is not None:
        websocket.place = place
    websocket.begin(transport, opening.key, opening.subprotocol, headers)
    transport.resumeProducing()
    return unread(channel)


def unread(channel: Any) -> bytes:
    """What a client sent after the request that its connection was detached for."""
    return b"".join(channel._dataBuffer)


def detach(channel: Any, protocol: Any) -> Any:
    """Let ``protocol`` have whatever still comes on a channel's connection, which is not read meanwhile.

    :return: the connection's :class:`happy.web.places.Place` if it has one, to be left when it is gone.
    """
    transport: Any = channel.transport
    channel.setTimeout(None)
    transport.unregisterProducer()
    hand_over = getattr(channel, "hand_over", None)
    place = None if hand_over is None else hand_over()
    _replace(transport, channel, protocol)
    return place


def _replace(transport: Any, channel: Any, websocket: Any) -> None:
    if isinstance(transport, ProtocolWrapper):  # TLS in memory, or another wrapper
        transport.wrappedProtocol = websocket
    elif isinstance(getattr(transport, "protocol", None), ProtocolWrapper):  # TLS started on the transport
        transport.protocol.wrappedProtocol = websocket
    else:
        transport.protocol = websocket
    # The channel may be in the middle of bytes that reach beyond the request, and some transports know
    # their protocol from elsewhere: whatever still comes to the channel is the WebSocket's.
    channel.rawDataReceived = websocket.dataReceived
    channel.dataReceived = websocket.dataReceived
    channel.connectionLost = websocket.connectionLost


def asked_opening(request: Request) -> Opening:
    """The opening handshake that an :func:`acceptable` request is."""
    return Opening(request.getHeader(b"Sec-WebSocket-Key") or b"", offered_subprotocol(request))


def offered_subprotocol(request: Request) -> bytes:
    """The first that the client offers; empty if there is none."""
    offered = request.requestHeaders.getRawHeaders(b"Sec-WebSocket-Protocol") or [b""]
    return offered[0].split(b",")[0].strip()


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _tokens(request: Request, header: bytes) -> set[bytes]:
    values = request.requestHeaders.getRawHeaders(header) or []
    return {token.strip().lower() for value in values for token in value.split(b",")}
