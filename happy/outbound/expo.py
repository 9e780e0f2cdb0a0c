"""Delivery of notifications through Expo's push service (http.md P4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct
from twisted.internet.defer import Deferred, gatherResults

from happy.outbound._http import CallFailed, Rejected

if TYPE_CHECKING:
    from happy.outbound._http import Outgoing

SERVICE = "https://exp.host/--/api/v2/push/send"
BATCH = 100
"""Messages that the service takes in one call."""
DEADLINE = 8.0
"""Seconds that one notification may take, for all its batches together."""
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
    data: Mapping[str, Any]
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

    async def send(self, tokens: Sequence[str], notice: Notice) -> list[Delivery]:
        """Notify every device within :data:`DEADLINE`, and tell what became of each, in their order.

        Never fails: what the service does wrong is an error of the devices concerned.
        """
        batches = [tokens[start : start + BATCH] for start in range(0, len(tokens), BATCH)]
        # All start now, so that each one's timeout is the deadline of the whole.
        sending = [Deferred.fromCoroutine(self._send(batch, notice)) for batch in batches]
        results: list[list[Delivery]] = await gatherResults(sending, consumeErrors=True)
        return [delivery for result in results for delivery in result]

    async def _send(self, tokens: Sequence[str], notice: Notice) -> list[Delivery]:
        messages = [
            _Message(to=token, title=notice.title, body=notice.body, data=notice.data) for token in tokens
        ]
        try:
            answer = await self._outgoing.ask("POST", self._url, _Answer, json=messages, timeout=DEADLINE)
        except Rejected as rejection:
            return [Delivery(token, f"HTTP {rejection.status}") for token in tokens]
        except CallFailed:
            return [Delivery(token, "Network error") for token in tokens]
        missing = [_Ticket("error")] * (len(tokens) - len(answer.data))
        return [
            ticket.delivery(token) for token, ticket in zip(tokens, [*answer.data, *missing], strict=False)
        ]
