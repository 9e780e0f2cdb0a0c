"""Socket.IO packets on their way out: encoded once, framed once, shared by any number of sockets.

Formats: realtime.md A.3 and A.11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from happy.wire.engineio import EncodedPacket, GatheredPacket
from happy.wire.jsontext import Attachment, encode_json, encode_plainly

__all__ = (
    "MAIN",
    "Attachment",
    "EncodedPacket",
    "GatheredPacket",
    "begin_ack",
    "begin_event",
    "encode_ack",
    "encode_connect",
    "encode_connect_error",
    "encode_disconnect",
    "encode_event",
)

MAIN: Final = "/"
"""The namespace that packets do not name."""

_MESSAGE: Final = b"4"
_ENCODER: Final = msgspec.json.Encoder()


def encode_event(
    name: str, *arguments: Any, namespace: str = MAIN, ack_id: int | None = None
) -> EncodedPacket:
    """An EVENT, or a BINARY_EVENT when an :class:`Attachment` is somewhere inside.

    An argument is JSON already encoded (``msgspec.Raw``), or any value that msgspec encodes, bytes apart.

    :raises TypeError: an argument is nothing that JSON can carry.
    :raises ValueError: an argument nests too deeply, or the namespace is none.
    """
    return _encode_array(b"2", b"5", (name, *arguments), namespace, ack_id)


def encode_ack(ack_id: int, arguments: Sequence[Any] = (), namespace: str = MAIN) -> EncodedPacket:
    """An ACK, or a BINARY_ACK; arguments as in :func:`encode_event`."""
    return _encode_array(b"3", b"6", arguments, namespace, ack_id)


def begin_event(name: str, namespace: str = MAIN) -> GatheredPacket:
    """An EVENT up to its name: the JSON of each argument follows after a comma, and a bracket at the end."""
    return GatheredPacket(_MESSAGE + b"2" + _namespace_prefix(namespace) + b"[" + _ENCODER.encode(name))


def begin_ack(ack_id: int, namespace: str = MAIN) -> GatheredPacket:
    """An ACK up to the bracket before its arguments."""
    return GatheredPacket(_MESSAGE + b"3" + _namespace_prefix(namespace) + b"%d[" % ack_id)


def encode_connect(sid: str, namespace: str = MAIN, pid: str | None = None) -> EncodedPacket:
    """The reply that admits a client to a namespace; ``pid`` where the connection can be recovered (A.14)."""
    return _encode_object(b"0", namespace, {"sid": sid} if pid is None else {"sid": sid, "pid": pid})


def encode_connect_error(message: str, namespace: str = MAIN, data: Any = None) -> EncodedPacket:
    """The reply that refuses a client, with ``data`` for its program unless that is None.

    :raises TypeError: ``data`` is nothing that JSON can carry, such as an :class:`Attachment`.
    """
    told = {"message": message} if data is None else {"message": message, "data": data}
    return _encode_object(b"4", namespace, told)


def encode_disconnect(namespace: str = MAIN) -> EncodedPacket:
    """The server leaves the namespace; clients do not come back by themselves after it."""
    return EncodedPacket(_MESSAGE + b"1" + _namespace_prefix(namespace))


def _encode_object(kind: bytes, namespace: str, value: dict[str, Any]) -> EncodedPacket:
    attachments: list[bytes] = []
    payload = encode_json(value, attachments)
    if attachments:
        raise TypeError("an Attachment has no JSON form here")
    return EncodedPacket(_MESSAGE + kind + _namespace_prefix(namespace) + payload)


def _encode_array(
    plain: bytes, binary: bytes, values: Sequence[Any], namespace: str, ack_id: int | None
) -> EncodedPacket:
    head = b"" if namespace == MAIN else _namespace_prefix(namespace)
    if ack_id is not None:
        head += b"%d" % ack_id
    payload = encode_plainly(values)
    if payload is not None:
        return EncodedPacket(_MESSAGE + plain + head + payload)
    attachments: list[bytes] = []
    payload = b"[" + b",".join([encode_json(value, attachments) for value in values]) + b"]"
    kind = binary + b"%d-" % len(attachments) if attachments else plain
    return EncodedPacket(_MESSAGE + kind + head + payload, attachments)


def _namespace_prefix(namespace: str) -> bytes:
    if namespace == MAIN:
        return b""
    if not namespace.startswith("/") or "," in namespace:
        raise ValueError("a namespace begins with a slash and has no comma")
    return namespace.encode() + b","
