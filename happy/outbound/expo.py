"""Delivery of notifications through Expo's push service (http.md P4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct
from twisted.internet.defer import DeferredLock

from happy.outbound.http import CallFailed, Rejected

if TYPE_CHECKING:
    from happy.outbound.http import Outgoing

SERVICE = "https://exp.host/--/api/v2/push/send"
BATCH = 100
"""Messages that the service takes in one call."""
DEADLINE = 8.0
"""Seconds that one notification may take, for its turn and all its batches together."""
LARGEST: Final = 4096
"""Bytes of data that a notification may have: as many as the service takes of all of it."""
MOST_WAITING: Final = 10
"""Notifications of an account that may wait while one is sent."""
_NOT_REGISTERED = "DeviceNotRegistered"
_LONGEST_ERROR = 200


class Notice(NamedTuple):
    """What a device shows; ``data`` is handed to the app when it is tapped."""

    title: str
    body: str
    data: Mapping[str, Any]


class Delivery(NamedTuple):
    """What became of one device's notification: ``error`` is None if the service accepted it.

    ``gone`` tells a device that will never be reached again.
    """

    token: str
    error: str | None = None
    gone: bool = False


class _Message(Struct, frozen=True, kw_only=True, rename="camel"):
    to: str
    title: str
    body: str
    data: Raw
    sound: Literal["default"] = "default"
    channel_id: Literal["messages"] = "messages"


class _Ticket(Struct, frozen=True):
    status: str
    message: Any = None
    details: Any = None

    def delivery(self, token: str) -> Delivery:
        if self.status == "ok":
            return Delivery(token)
        error = self.details.get("error") if isinstance(self.details, dict) else None
        texts = [text for text in (error, self.message) if isinstance(text, str) and text]
        return Delivery(token, [*texts, "unknown"][0][:_LONGEST_ERROR], error == _NOT_REGISTERED)


class _Answer(Struct, frozen=True):
    data: list[_Ticket]


class Expo:
    """The push service behind ``outgoing``."""

    def __init__(self, outgoing: Outgoing, url: str = SERVICE) -> None:
        self._outgoing = outgoing
        self._url = url
        self._turns: dict[str, DeferredLock] = {}

    async def send(self, account: str, tokens: Sequence[str], notice: Notice) -> list[Delivery]:
        """Notify every device within :data:`DEADLINE`, and tell what became of each, in their order.

        One call at a time for an account, so that none takes the places of others. Never fails: what the
        service does wrong, and what it would refuse, is an error of the devices concerned.
        """
        data = Raw(msgspec.json.encode(notice.data))
        if len(data) > LARGEST:
            return [Delivery(token, "MessageTooBig") for token in tokens]
        deadline = self._outgoing.seconds() + DEADLINE
        turn = self._turns.setdefault(account, DeferredLock())
        if len(turn.waiting) >= MOST_WAITING:
            return [Delivery(token, "MessageRateExceeded") for token in tokens]
        await turn.acquire()
        try:
            return await self._send_all(tokens, notice, data, deadline)
        finally:
            if not turn.waiting:
                del self._turns[account]
            turn.release()

    async def _send_all(
        self, tokens: Sequence[str], notice: Notice, data: Raw, deadline: float
    ) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for start in range(0, len(tokens), BATCH):
            batch = tokens[start : start + BATCH]
            left = deadline - self._outgoing.seconds()
            if left > 0:
                deliveries += await self._send(batch, notice, data, left)
            else:
                deliveries += [Delivery(token, "Network error") for token in batch]
        return deliveries

    async def _send(self, tokens: Sequence[str], notice: Notice, data: Raw, seconds: float) -> list[Delivery]:
        messages = [_Message(to=token, title=notice.title, body=notice.body, data=data) for token in tokens]
        try:
            answer = await self._outgoing.ask("POST", self._url, _Answer, json=messages, timeout=seconds)
        except Rejected as rejection:
            return [Delivery(token, f"HTTP {rejection.status}") for token in tokens]
        except CallFailed:
            return [Delivery(token, "Network error") for token in tokens]
        missing = [_Ticket("error")] * (len(tokens) - len(answer.data))
        return [
            ticket.delivery(token) for token, ticket in zip(tokens, [*answer.data, *missing], strict=False)
        ]
