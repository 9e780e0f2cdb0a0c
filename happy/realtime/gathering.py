"""An update's text while it is written, which takes several turns of the reactor when it is large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from happy.realtime.client import owner_of
from happy.socketio.socket import GatheredPacket, begin_event

if TYPE_CHECKING:
    from happy.base.bounds import Budget


class Gathering:
    """One of them, for which its account pays until it is sent; without ``memory`` nobody does."""

    def __init__(self, memory: Budget | None, account: str) -> None:
        self._packet: GatheredPacket | None = begin_event("update")
        self._packet.add(b",")
        self._holding = None if memory is None else memory.open(owner_of(account), self)

    def add(self, portion: bytes) -> bool:
        """Keep some more of it; False, and nothing kept any more, when there is no room."""
        if self._holding is not None and not self._holding.take(len(portion)):
            self._packet = None
        if self._packet is None:
            return False
        self._packet.add(portion)
        return True

    def end(self) -> GatheredPacket | None:
        """What was gathered, which does not count here any more; None if somebody else needed the room."""
        if self._holding is not None:
            self._holding.close()
        return self._packet

    def give_up(self) -> None:
        """See :class:`happy.base.bounds.Payer`."""
        self._packet = None
