"""Calls that are not answered yet: waiting for a target, or for its answer, here or at another node."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import UNSET, Raw, Struct, UnsetType
from twisted.python.failure import Failure

from happy.base.coroutines import Outcome
from happy.realtime.client import Pending

if TYPE_CHECKING:
    from happy.base.expiry import Expiry
    from happy.realtime.client import Client

NOT_AVAILABLE = "RPC method not available"
SELF_CALL = "Cannot call RPC on the same socket"
TARGET_GONE = "RPC target disconnected"
TIMED_OUT = "operation has timed out"
CALLER_GONE = "RPC caller disconnected"
TOO_MANY = "Too many calls in flight"
TOO_LARGE = "Too much in flight to another node"


class RpcFailed(Exception):
    """The call got no answer. ``error`` is the text for the caller, ``result`` the metric's label."""

    def __init__(self, error: str, result: str) -> None:
        super().__init__(error)
        self.error = error
        self.result = result


class RpcRequest(Struct, frozen=True):
    """What the target hears; ``params`` pass through untouched and may be absent."""

    method: str
    params: Raw | UnsetType = UNSET


class Undelivered(Exception):
    """A call that went to another node reached nobody there, and was not executed."""


class Elsewhere(Protocol):
    """Methods that clients of other nodes offer. A newer offer has a higher rank, wherever it was made."""

    def changed(self, account: str, method: str, rank: int | None) -> None:
        """The newest offer made here is another one, or there is none any more."""

    def newest(self, account: str, method: str, tried: Container[RemoteOffer]) -> RemoteOffer | None:
        """The newest offer made elsewhere, of those that were not tried."""

    def call(self, offer: RemoteOffer, account: str, request: RpcRequest) -> RemoteCall:
        """Call who made an offer."""


class RemoteOffer(NamedTuple):
    """An offer made at another node."""

    rank: int
    node: str


class RemoteCall(Pending, Protocol):
    """One that another node was asked to make."""

    answer: Outcome[Sequence[Raw]]
    """Fails with RpcFailed or Undelivered."""


class Waiting:
    """A call that waits for somebody to offer its method."""

    __slots__ = ("_deadline", "_expiry", "_key", "_waiting", "turn")

    def __init__(
        self, key: tuple[str, str], waiting: dict[tuple[str, str], dict[Waiting, None]], expiry: Expiry
    ) -> None:
        self.turn: Outcome[None] = Outcome()
        self._key = key
        self._waiting = waiting
        waiting.setdefault(key, {})[self] = None
        self._expiry = expiry
        self._deadline = expiry.add(self.go_on)

    def go_on(self) -> None:
        """Somebody offers it, or nobody did for too long."""
        if self._leave():
            self.turn.settle(None)

    def abandon(self) -> None:
        """See :class:`happy.realtime.client.Pending`."""
        if self._leave():
            self.turn.settle(Failure(RpcFailed(CALLER_GONE, "caller_disconnected")))

    def _leave(self) -> bool:
        """Whether it waited until now."""
        waiters = self._waiting.get(self._key, {})
        if self not in waiters:
            return False
        del waiters[self]
        if not waiters:
            del self._waiting[self._key]
        self._expiry.drop(self._deadline)
        return True


class Forwarded:
    """A call that its target has heard of. Called with the target's answer, or None when that is gone."""

    __slots__ = ("_deadline", "_expiry", "_target", "answer", "id", "method")

    id: int

    def __init__(self, target: Client, method: str, expiry: Expiry) -> None:
        self.answer: Outcome[Sequence[Raw]] = Outcome()
        self.method = method
        self._target = target
        self._expiry = expiry
        self._deadline = expiry.add(self._expired)

    def __call__(self, arguments: Sequence[Raw] | None) -> None:
        self._expiry.drop(self._deadline)
        if arguments is None:
            self._fail(TARGET_GONE, "target_disconnected")
        elif not self.answer.called:
            self.answer.settle(arguments)

    def give_up(self) -> None:
        """Treat the target as gone, unless it has answered."""
        self._target.socket.forget_call(self.id)
        self(None)

    def abandon(self) -> None:
        """See :class:`happy.realtime.client.Pending`."""
        self._target.socket.forget_call(self.id)
        self._expiry.drop(self._deadline)
        self._fail(CALLER_GONE, "caller_disconnected")

    def _expired(self) -> None:
        self._target.socket.forget_call(self.id)
        self._fail(TIMED_OUT, "timeout")

    def _fail(self, error: str, result: str) -> None:
        if not self.answer.called:
            self.answer.settle(Failure(RpcFailed(error, result)))
