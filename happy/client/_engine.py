"""The Engine.IO side of a connection, as a client sees it (realtime.md A.3, A.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from happy.client._packets import Packet, decode_packet
from happy.wire.engineio import PacketType
from happy.wire.engineio import decode_packet as decode_engine_packet

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Wire(Protocol):
    """The transport connection."""

    def send(self, text: bytes) -> None:
        """Send one packet; nothing happens once the connection is closing."""

    def close(self) -> None:
        """End the connection after what was sent has gone."""

    def abort(self) -> None:
        """End the connection at once, as a failing network does."""


class Program(Protocol):
    """What runs on top."""

    def opened(self) -> None:
        """The transport session is open: packets may be sent."""

    def packet(self, packet: Packet) -> None:
        """The server sent a Socket.IO packet."""

    def lost(self, reason: str) -> None:
        """The connection is gone; called once."""


class _Open(msgspec.Struct, frozen=True, rename="camel"):
    ping_interval: int
    ping_timeout: int


class Engine:
    """Answers heartbeats, notices when they stay away, and passes messages on to ``program``."""

    def __init__(self, wire: Wire, clock: IReactorTime) -> None:
        self.program: Program
        self._wire = wire
        self._clock = clock
        self._patience = 0.0
        self._silence: IDelayedCall | None = None
        self._reason: str | None = None

    def send(self, text: bytes) -> None:
        """Send one packet."""
        self._wire.send(text)

    def close(self, reason: str) -> None:
        """End the connection in good order; what still comes is ignored."""
        self._reason = reason
        self._wire.close()

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self._reason = self._reason or reason
        self._wire.abort()

    def received(self, text: bytes) -> None:
        """The connection delivered a packet."""
        if self._reason is not None:
            return
        try:
            self._handle(text)
        except ValueError:
            self.abort("parse error")

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self.program.lost(self._reason or reason)

    def _handle(self, text: bytes) -> None:
        packet = decode_engine_packet(text)
        if packet.type is PacketType.MESSAGE:
            self.program.packet(decode_packet(packet.data))
        elif packet.type is PacketType.PING:
            self._expect_ping()
            self._wire.send(b"3")
        elif packet.type is PacketType.OPEN:
            opened = msgspec.json.decode(packet.data, type=_Open)
            self._patience = (opened.ping_interval + opened.ping_timeout) / 1000
            self._expect_ping()
            self.program.opened()

    def _expect_ping(self) -> None:
        if self._silence is None:
            self._silence = self._clock.callLater(self._patience, self._gone_silent)
        else:
            self._silence.reset(self._patience)

    def _gone_silent(self) -> None:
        self._silence = None
        self.abort("ping timeout")
