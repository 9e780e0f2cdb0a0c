"""Just enough of the server's events to check and to time them (realtime.md B.4)."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, gc=False, rename="camel"):
    """A stored message."""

    seq: int
    local_id: str | None = None


class Body(msgspec.Struct, gc=False):
    """An update's body; ``message`` only for ``new-message``."""

    t: str
    sid: str | None = None
    message: Message | None = None


class Update(msgspec.Struct, gc=False):
    """An update's envelope."""

    seq: int
    body: Body


class _Event(msgspec.Struct, gc=False, array_like=True):
    # Array-like: the offset that recovery adds at the end is passed over.
    name: str
    update: Update


_decode = msgspec.json.Decoder(_Event).decode
_UPDATE = b'42["update"'


def read_update(packet: bytes) -> Update | None:
    """The update that a packet brings; None for any other packet."""
    return _decode(packet[2:]).update if packet.startswith(_UPDATE) else None
