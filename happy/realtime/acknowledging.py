"""Acknowledgements, of which some take long to write: they repeat what was sent, or hold what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from happy.api.portions import LARGE, in_portions, is_large
from happy.base.redaction import describe_fault
from happy.realtime.client import Client, owner_of

if TYPE_CHECKING:
    from happy.api.declare import Event
    from happy.base.pace import Pace
    from happy.socketio.socket import Acknowledge

_UNWRITABLE: Final = (TypeError, ValueError, RecursionError)
"""What encoders raise: of types, of halves of characters, and of depth."""

_log = Logger()


def acknowledge(ack: Acknowledge, value: Any, size: int) -> bool:
    """Acknowledge an event of ``size`` bytes in one step; False, and nothing done, if that cannot be."""
    if size > LARGE and is_large(value):
        return False
    try:
        ack(value)
    except _UNWRITABLE:  # What is stored, and not small, is Sliced, which an encoder does not know.
        return False
    return True


class LargeAcknowledgement:
    """One of them, which is written a portion at a time, in the account's turns, and paid for meanwhile.

    ``over`` is called when it was sent, or there was no room for it: then the client's socket is closed. One
    that cannot be written at all becomes the ``event``'s failure answer.
    """

    __slots__ = ("_ack", "_client", "_event", "_over", "_pace", "_packet", "_portions", "_taken")

    def __init__(
        self,
        pace: Pace,
        client: Client,
        event: Event,
        ack: Acknowledge,
        value: Any,
        over: Callable[[], None],
    ) -> None:
        self._pace = pace
        self._client = client
        self._event = event
        self._ack = ack
        self._over = over
        self._packet = ack.begin()
        self._portions = in_portions(value)
        self._taken = 0

    def go_on(self) -> None:
        """See :class:`happy.base.pace.Waiter`."""
        try:
            fits = self._gather()
        except Exception as error:
            self._fail(error)
            return
        if fits is None:
            self._pace.wait(owner_of(self._client.account), self)
        elif fits:
            self._end()
            self._ack.end(self._packet)
        else:
            self._client.socket.close()
            self._end()

    def _gather(self) -> bool | None:
        """Whether there was room for all of it; None if the rest has to wait."""
        holding = self._client.holding
        for portion in self._portions:
            if not holding.take(len(portion)):
                return False
            self._taken += len(portion)
            self._packet.add(portion)
            if self._pace.over():
                return None
        return True

    def _fail(self, error: Exception) -> None:
        event = self._event
        _log.error(
            "Acknowledging {name} failed: {fault}", name=f"event {event.name}", fault=describe_fault(error)
        )
        self._end()
        if event.failure is not None:
            self._ack(event.failure)

    def _end(self) -> None:
        self._client.holding.give_back(self._taken)
        self._over()
