"""Acknowledgements, of which some take long to write: they repeat what was sent, or hold what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from happy.api.portions import LARGE, in_portions, is_large
from happy.realtime.client import Client, owner_of

if TYPE_CHECKING:
    from happy.base.pace import Pace
    from happy.socketio.socket import Acknowledge


def acknowledge(ack: Acknowledge, value: Any, size: int) -> bool:
    """Acknowledge an event of ``size`` bytes in one step; False, and nothing done, if that takes long."""
    if size > LARGE and is_large(value):
        return False
    try:
        ack(value)
    except TypeError:  # What is stored, and not small, is Sliced, which an encoder does not know.
        return False
    return True


class LargeAcknowledgement:
    """One of them, which is written a portion at a time, in the account's turns, and paid for meanwhile.

    ``over`` is called when it was sent, or there was no room for it: then the client's socket is closed.
    """

    __slots__ = ("_ack", "_client", "_over", "_pace", "_packet", "_portions", "_taken")

    def __init__(
        self, pace: Pace, client: Client, ack: Acknowledge, value: Any, over: Callable[[], None]
    ) -> None:
        self._pace = pace
        self._client = client
        self._ack = ack
        self._over = over
        self._packet = ack.begin()
        self._portions = in_portions(value)
        self._taken = 0

    def go_on(self) -> None:
        """See :class:`happy.base.pace.Waiter`."""
        holding = self._client.holding
        for portion in self._portions:
            if not holding.take(len(portion)):
                self._client.socket.close()
                self._end()
                return
            self._taken += len(portion)
            self._packet.add(portion)
            if self._pace.over():
                self._pace.wait(owner_of(self._client.account), self)
                return
        self._end()
        self._ack.end(self._packet)

    def _end(self) -> None:
        self._client.holding.give_back(self._taken)
        self._over()
