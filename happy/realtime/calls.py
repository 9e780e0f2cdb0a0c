"""Remote calls between clients of one account (realtime.md B.7, D-7).

A client registers methods; another calls one; the server forwards the request to the newest
registration and its answer back. Nothing is polled: a registration wakes the callers that wait for
it, and a target's departure fails its calls at once. A call that reached nobody or got no answer is
never reported as a success.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Raw, UnsetType

from happy.base.expiry import Expiry
from happy.base.pace import Pace
from happy.realtime.client import Client, owner_of
from happy.realtime.pending import (
    CALLER_GONE,
    NOT_AVAILABLE,
    SELF_CALL,
    TOO_MANY,
    Elsewhere,
    Forwarded,
    RemoteCall,
    RemoteOffer,
    RpcFailed,
    RpcRequest,
    Undelivered,
    Waiting,
)

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from happy.base.bounds import Holding
    from happy.base.clocks import Now
    from happy.base.coroutines import Outcome
    from happy.metrics import Metrics
    from happy.realtime.client import Pending
    from happy.socketio.socket import Answered

ANSWER_SECONDS = 30.0
GRACE_SECONDS = 15.0
WITHDRAWN_SECONDS = 4.0
"""How long a target may still answer after it withdrew the method (two misses of the original's checks)."""

MAX_METHODS = 2_000
MAX_CALLS_IN_FLIGHT = 1_000
MAX_NAMES = 1024 * 1024
"""Characters of the names that an account's clients offer here: other nodes are told all of them at once."""

METHOD_BYTES = 512
"""What a registration costs beside its name."""


class _Method:
    """One method of an account: who offers it, the newest last, with ranks; and its metric label."""

    __slots__ = ("label", "targets")

    def __init__(self, label: str) -> None:
        self.label = label
        self.targets: dict[Client, int] = {}


class Calls:
    """Registrations of every account, and the calls in flight."""

    def __init__(
        self, clock: IReactorTime, metrics: Metrics, pace: Pace | None = None, now: Now = lambda: 0.0
    ) -> None:
        """``pace`` is how long the reactor stays with calls that go on, or end, together; ``now`` is the time
        by which other nodes rank what they offer as well."""
        self._clock = clock
        self._pace = pace or Pace(clock)
        self._metrics = metrics
        self.elsewhere: Elsewhere | None = None
        """Where there are other nodes."""
        self._now = now
        self._rank = 0
        self._names: dict[str, int] = {}
        """Characters of the names that are offered, by account."""
        self._methods: dict[tuple[str, str], _Method] = {}
        self._waiting: dict[tuple[str, str], dict[Waiting, None]] = {}
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
        names = self._names.get(client.account, 0) + len(method)
        if len(methods) >= MAX_METHODS or names > MAX_NAMES or not client.holding.take(_cost(method)):
            return False
        self._names[client.account] = names
        client.methods = methods
        methods.add(method)
        withdrawing = self._withdrawing.pop((client, method), None)
        if withdrawing is not None:
            withdrawing.cancel()
        key = (client.account, method)
        known = self._methods.get(key)
        if known is None:
            known = self._methods[key] = _Method(self._metrics.rpc_method(method))
        # A node that has not heard of the others' offers yet must not take its own for older than they are.
        self._rank = max(self._rank + 1, round(1000 * self._now()))
        known.targets[client] = self._rank
        if self.elsewhere is not None:
            self.elsewhere.changed(*key, self._rank)
        if key in self._waiting:
            self._clock.callLater(0, self._wake, key)
        return True

    def hear(self, account: str, methods: Mapping[str, int]) -> None:
        """Methods are offered at another node, with these ranks."""
        self._rank = max(self._rank, *methods.values(), 0)
        for method in methods if self._waiting else ():
            if (account, method) in self._waiting:
                self._clock.callLater(0, self._wake, (account, method))

    def offered(self, clients: Iterable[Client]) -> dict[str, int]:
        """The methods that clients of an account offer, with the ranks of the newest offers."""
        found: dict[str, int] = {}
        for client in clients:
            for method in client.methods or ():
                rank = self._methods[client.account, method].targets[client]
                found[method] = max(rank, found.get(method, 0))
        return found

    def _wake(self, key: tuple[str, str]) -> None:
        """Let callers go on, as long as there is somebody to call."""

        def go_on(waiting: Waiting) -> None:
            if key in self._methods or self._offer(key) is not None:
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
        self._pace.each(owner_of(client.account), calls, Forwarded.give_up)

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
        self._names[client.account] -= len(method)
        if not self._names[client.account]:
            del self._names[client.account]
        if not known.targets:
            del self._methods[key]
        if self.elsewhere is not None:
            self.elsewhere.changed(*key, max(known.targets.values(), default=None))

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
            if self.elsewhere is not None:
                return await self._call_anywhere(caller, calls, RpcRequest(method, params))
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

    async def _call_anywhere(self, caller: Client, calls: set[Pending], request: RpcRequest) -> Sequence[Raw]:
        """Call the newest target of all nodes. What reached nobody is called again; see :meth:`call`."""
        key, tried = (caller.account, request.method), set[RemoteOffer]()
        until = self._clock.seconds() + GRACE_SECONDS
        while True:
            known, offer = self._methods.get(key), self._offer(key, tried)
            if known is None and offer is None and self._clock.seconds() < until:
                known = await self._registration(calls, key)
                offer = self._offer(key, tried)
            if caller.calls is not calls:
                raise RpcFailed(CALLER_GONE, "caller_disconnected")
            here = _newest(known, caller)
            call: Forwarded | RemoteCall
            if self.elsewhere is not None and offer is not None and offer.rank > here[0]:
                call = self.elsewhere.call(offer, caller.account, request)
                tried.add(offer)
            else:
                call = self._forward(_target(known, caller), request)
            calls.add(call)
            try:
                return await call.answer
            except Undelivered:
                continue
            finally:
                calls.discard(call)

    def _offer(self, key: tuple[str, str], tried: Container[RemoteOffer] = ()) -> RemoteOffer | None:
        return None if self.elsewhere is None else self.elsewhere.newest(*key, tried)

    def serve(self, account: str, request: RpcRequest) -> Outcome[Sequence[Raw]] | None:
        """Call the newest target here for another node; None if there is none."""
        target = _newest(self._methods.get((account, request.method)), None)[1]
        return None if target is None else self._forward(target, request).answer

    async def _registration(self, calls: set[Pending], key: tuple[str, str]) -> _Method | None:
        """The method as soon as somebody offers it; None when nobody here does within the grace window."""
        waiting = Waiting(key, self._waiting, self._graces)
        calls.add(waiting)
        try:
            await waiting.turn
        finally:
            calls.discard(waiting)
        known = self._methods.get(key)
        label = self._metrics.rpc_method(key[1]) if known is None else known.label
        self._metrics.rpc_lookup_retries.labels(label).observe(1)
        return known

    def _forward(self, target: Client, request: RpcRequest) -> Forwarded:
        call = Forwarded(target, request.method, self._answers)
        call.id = target.socket.call("rpc-request", request, answered=call)
        return call


def _abandon(call: Pending) -> None:
    call.abandon()


def _cost(method: str) -> int:
    """What a registration is counted as, in bytes."""
    return len(method) + METHOD_BYTES


def _is_call(answered: Answered, method: str) -> TypeGuard[Forwarded]:
    return isinstance(answered, Forwarded) and answered.method == method


def _newest(method: _Method | None, caller: Client | None) -> tuple[int, Client | None]:
    """The newest registration of another client that is there, with its rank."""
    if method is not None:
        for client in reversed(method.targets):
            if client is not caller and client.socket.connected:
                return method.targets[client], client
    return 0, None


def _target(method: _Method | None, caller: Client) -> Client:
    """Whom to call. Raises RpcFailed."""
    if method is None or not method.targets:
        raise RpcFailed(NOT_AVAILABLE, "not_available")
    target = _newest(method, caller)[1]
    if target is None:
        raise RpcFailed(SELF_CALL, "self_call")
    return target
