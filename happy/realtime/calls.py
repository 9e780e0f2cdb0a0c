"""Remote calls between clients of one account (realtime.md B.7, D-7).

A client registers methods; another calls one; the server forwards the request to the newest
registration and its answer back. Nothing is polled: a registration wakes the callers that wait for
it, and a target's departure fails its calls at once. A call that reached nobody or got no answer is
never reported as a success.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard

from msgspec import UNSET, Raw, Struct, UnsetType
from twisted.python.failure import Failure

from happy.base.coroutines import Outcome
from happy.base.expiry import Expiry
from happy.base.pace import Pace
from happy.realtime.hub import Client, owner_of

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from happy.base.bounds import Holding
    from happy.metrics import Metrics
    from happy.socketio.socket import Answered

ANSWER_SECONDS = 30.0
GRACE_SECONDS = 15.0
WITHDRAWN_SECONDS = 4.0
"""How long a target may still answer after it withdrew the method (two misses of the original's checks)."""

MAX_METHODS = 2_000
MAX_CALLS_IN_FLIGHT = 1_000
METHOD_BYTES = 512
"""What a registration costs beside its name."""

NOT_AVAILABLE = "RPC method not available"
SELF_CALL = "Cannot call RPC on the same socket"
TARGET_GONE = "RPC target disconnected"
TIMED_OUT = "operation has timed out"
CALLER_GONE = "RPC caller disconnected"
TOO_MANY = "Too many calls in flight"


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


class _Method:
    """One method of an account: who offers it, the newest last, and its metric label."""

    __slots__ = ("label", "targets")

    def __init__(self, label: str) -> None:
        self.label = label
        self.targets: dict[Client, None] = {}


class Pending(Protocol):
    """A call that is not answered yet."""

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""


class _Waiting:
    """A call that waits for somebody to offer its method."""

    __slots__ = ("_deadline", "_expiry", "_key", "_waiting", "turn")

    def __init__(
        self, key: tuple[str, str], waiting: dict[tuple[str, str], dict[_Waiting, None]], expiry: Expiry
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
        """See :class:`Pending`."""
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


class _Forwarded:
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
        """See :class:`Pending`."""
        self._target.socket.forget_call(self.id)
        self._expiry.drop(self._deadline)
        self._fail(CALLER_GONE, "caller_disconnected")

    def _expired(self) -> None:
        self._target.socket.forget_call(self.id)
        self._fail(TIMED_OUT, "timeout")

    def _fail(self, error: str, result: str) -> None:
        if not self.answer.called:
            self.answer.settle(Failure(RpcFailed(error, result)))


class Calls:
    """Registrations of every account, and the calls in flight."""

    def __init__(self, clock: IReactorTime, metrics: Metrics, pace: Pace | None = None) -> None:
        """``pace`` is how long the reactor stays with calls that go on, or end, together."""
        self._clock = clock
        self._pace = pace or Pace(clock)
        self._metrics = metrics
        self._methods: dict[tuple[str, str], _Method] = {}
        self._waiting: dict[tuple[str, str], dict[_Waiting, None]] = {}
        self._withdrawing: dict[tuple[Client, str], IDelayedCall] = {}
        self._answers = Expiry(clock, ANSWER_SECONDS)
        self._graces = Expiry(clock, GRACE_SECONDS)
        self._measures: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def stop(self) -> None:
        """Let go of the clock; calls that are still in flight then have no limit of time."""
        self._answers.stop()
        self._graces.stop()

    def register(self, client: Client, method: str) -> bool:
        """Make the client the newest target of the method; False when it has too many already.

        Callers that wait for the method go on in the reactor's next turn: the client is to hear first
        that it is registered.
        """
        methods = client.methods if client.methods is not None else set()
        if method in methods:
            return True
        if len(methods) >= MAX_METHODS or not client.holding.take(_cost(method)):
            return False
        client.methods = methods
        methods.add(method)
        withdrawing = self._withdrawing.pop((client, method), None)
        if withdrawing is not None:
            withdrawing.cancel()
        key = (client.account, method)
        known = self._methods.get(key)
        if known is None:
            known = self._methods[key] = _Method(self._metrics.rpc_method(method))
        known.targets[client] = None
        if key in self._waiting:
            self._clock.callLater(0, self._wake, key)
        return True

    def _wake(self, key: tuple[str, str]) -> None:
        """Let callers go on, as long as there is somebody to call."""

        def go_on(waiting: _Waiting) -> None:
            if key in self._methods:
                waiting.go_on()

        self._pace.each(owner_of(key[0]), list(self._waiting.get(key, ())), go_on)

    def unregister(self, client: Client, method: str) -> None:
        """Undo a registration, if there is one. Calls under way may still be answered for a moment."""
        if client.methods is None or method not in client.methods:
            return
        client.methods.discard(method)
        client.holding.give_back(_cost(method))
        self._drop(client, method)
        if any(_is_call(call, method) for call in client.socket.awaiting()):
            withdrawn = self._clock.callLater(WITHDRAWN_SECONDS, self._withdrawn, client, method)
            self._withdrawing[client, method] = withdrawn

    def _withdrawn(self, client: Client, method: str) -> None:
        """The method has not come back: its calls fail."""
        del self._withdrawing[client, method]
        calls = [call for call in client.socket.awaiting() if _is_call(call, method)]
        self._pace.each(owner_of(client.account), calls, _Forwarded.give_up)

    def move(self, client: Client, holding: Holding) -> bool:
        """Let what a client offers count elsewhere; False if there is no room: then it is offered no more."""
        cost = sum(map(_cost, client.methods or ()))
        client.holding.give_back(cost)
        client.holding = holding
        if holding.take(cost):
            return True
        methods, client.methods = client.methods or (), None
        for method in methods:
            self._drop(client, method)
        return False

    def forget(self, client: Client) -> None:
        """Undo every registration of a client that has gone, and let nobody wait for answers to it."""
        methods, client.methods = client.methods, None
        if methods:
            client.holding.give_back(sum(map(_cost, methods)))
            self._pace.each(owner_of(client.account), methods, lambda method: self._drop(client, method))
        self.abandon(client)

    def abandon(self, client: Client) -> None:
        """The answers to a client's calls will not reach it."""
        calls, client.calls = client.calls, None
        if calls:
            self._pace.each(owner_of(client.account), list(calls), _abandon)

    def _drop(self, client: Client, method: str) -> None:
        key = (client.account, method)
        known = self._methods[key]
        del known.targets[client]
        if not known.targets:
            del self._methods[key]

    async def call(self, caller: Client, method: str, params: Raw | UnsetType) -> Sequence[Raw]:
        """Forward a call and wait for its answer: the arguments of the target's acknowledgement.

        Raises :class:`RpcFailed`.
        """
        if caller.calls is None:
            caller.calls = set()
        elif len(caller.calls) >= MAX_CALLS_IN_FLIGHT:
            raise RpcFailed(TOO_MANY, "internal_error")
        calls = caller.calls
        started = self._clock.seconds()
        key = (caller.account, method)
        known = self._methods.get(key)
        result = "success"
        call = None
        try:
            if known is None:
                known = await self._registration(calls, key)
            if caller.calls is not calls:  # It left, and this is the first that is heard of it.
                raise RpcFailed(CALLER_GONE, "caller_disconnected")
            call = self._forward(_target(known, caller), RpcRequest(method, params))
            del params  # The target has it: here it need not be kept until there is an answer.
            calls.add(call)
            return await call.answer
        except RpcFailed as failed:
            result = failed.result
            raise
        finally:
            if call is not None:
                calls.discard(call)
            label = self._metrics.rpc_method(method) if known is None else known.label
            self._measure(label, result, self._clock.seconds() - started)

    def _measure(self, label: str, result: str, seconds: float) -> None:
        measures = self._measures.get((label, result))
        if measures is None:
            measures = self._measures[label, result] = (
                self._metrics.rpc_calls_total.labels(label, result),
                self._metrics.rpc_call_duration_seconds.labels(label, result),
            )
        measures[0].inc()
        measures[1].observe(seconds)

    async def _registration(self, calls: set[Pending], key: tuple[str, str]) -> _Method | None:
        """The method as soon as somebody offers it; None when nobody does within the grace window."""
        waiting = _Waiting(key, self._waiting, self._graces)
        calls.add(waiting)
        try:
            await waiting.turn
        finally:
            calls.discard(waiting)
        known = self._methods.get(key)
        label = self._metrics.rpc_method(key[1]) if known is None else known.label
        self._metrics.rpc_lookup_retries.labels(label).observe(1)
        return known

    def _forward(self, target: Client, request: RpcRequest) -> _Forwarded:
        call = _Forwarded(target, request.method, self._answers)
        call.id = target.socket.call("rpc-request", request, answered=call)
        return call


def _abandon(call: Pending) -> None:
    call.abandon()


def _cost(method: str) -> int:
    """What a registration is counted as, in bytes."""
    return len(method) + METHOD_BYTES


def _is_call(answered: Answered, method: str) -> TypeGuard[_Forwarded]:
    return isinstance(answered, _Forwarded) and answered.method == method


def _target(method: _Method | None, caller: Client) -> Client:
    """The newest registration of another client that is there. Raises CallFailed."""
    if method is None or not method.targets:
        raise RpcFailed(NOT_AVAILABLE, "not_available")
    for client in reversed(method.targets):
        if client is not caller and client.socket.connected:
            return client
    raise RpcFailed(SELF_CALL, "self_call")
