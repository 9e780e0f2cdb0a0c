"""Calls of clients of one node to clients of another.

A call is said once, to the node that has the newest offer. That node forwards it and says what became of it.
What certainly nobody heard of may be called elsewhere; of everything else it is not known whether it was
executed, so it fails and is not repeated.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Raw
from twisted.python.failure import Failure

from happy.base.coroutines import Outcome
from happy.base.expiry import Expiry
from happy.cluster import wire
from happy.cluster.room import Room
from happy.realtime.calls import ANSWER_SECONDS
from happy.realtime.pending import (
    CALLER_GONE,
    TARGET_GONE,
    TIMED_OUT,
    TOO_LARGE,
    RemoteOffer,
    RpcFailed,
    RpcRequest,
    Undelivered,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.cluster.bus import Bus
    from happy.cluster.hosting import Hosting
    from happy.cluster.outlet import Outlet
    from happy.cluster.rosters import Rosters
    from happy.metrics import Metrics
    from happy.realtime.calls import Calls

MAX_SERVED: Final = 20_000
"""Calls of other nodes under way here, of which an account has as many as are left for others; what is beyond
is not delivered."""


class _Remote:
    """A call that another node was asked to make (:class:`happy.realtime.pending.RemoteCall`)."""

    __slots__ = ("_calls", "answer", "deadline", "node", "number")

    def __init__(self, calls: RemoteCalls, node: str, number: int) -> None:
        self.answer: Outcome[Sequence[Raw]] = Outcome()
        self.node = node
        self.number = number
        self.deadline: int | None = None
        self._calls = calls

    def settle(self, outcome: Sequence[Raw] | Failure) -> None:
        """It has an answer, or will have none."""
        if self._calls.forget(self):
            self._calls.count(outcome)
            self.answer.settle(outcome)

    def fail(self, error: Exception) -> None:
        """It has no answer."""
        self.settle(Failure(error))

    def abandon(self) -> None:
        """See :class:`happy.realtime.pending.Pending`."""
        self.fail(RpcFailed(CALLER_GONE, "caller_disconnected"))

    def expire(self) -> None:
        """There was no answer in time."""
        self.fail(RpcFailed(TIMED_OUT, "timeout"))

    def lose(self, _: object = None) -> None:
        """Nobody knows what became of it."""
        self.fail(RpcFailed(TARGET_GONE, "target_disconnected"))


class RemoteCalls:
    """Calls to other nodes, and by them (:class:`happy.realtime.pending.Elsewhere`)."""

    def __init__(
        self,
        outlet: Outlet,
        bus: Bus,
        clock: IReactorTime,
        hosting: Hosting,
        rosters: Rosters,
        metrics: Metrics,
    ) -> None:
        self._results = {
            result: metrics.happy_calls_remote_total.labels(result)
            for result in ("answered", "failed", "undelivered")
        }
        self._outlet = outlet
        self._bus = bus
        self._hosting = hosting
        self._rosters = rosters
        self._numbers = count(1)
        self._under_way: dict[int, _Remote] = {}
        self._served = Room(MAX_SERVED)
        self._expiry = Expiry(clock, ANSWER_SECONDS)
        self._calls: Calls

    def attach(self, calls: Calls) -> None:
        """``calls`` are those of this node's own clients."""
        self._calls = calls
        calls.elsewhere = self

    def stop(self) -> None:
        """Fail what is under way."""
        self._calls.elsewhere = None
        self.lost()
        self._expiry.stop()

    # -- calls of our own clients ----------------------------------------------------------------

    def changed(self, account: str, method: str, rank: int | None) -> None:
        """See :class:`happy.realtime.pending.Elsewhere`."""
        self._rosters.method(account, method, rank)

    def newest(self, account: str, method: str, tried: Container[RemoteOffer]) -> RemoteOffer | None:
        """See :class:`happy.realtime.pending.Elsewhere`."""
        hosted = self._hosting.get(account)
        offers = () if hosted is None else hosted.roster.offers(method)
        return max((offer for offer in offers if offer not in tried), default=None)

    def call(self, offer: RemoteOffer, account: str, request: RpcRequest) -> _Remote:
        """See :class:`happy.realtime.pending.Elsewhere`."""
        call = _Remote(self, offer.node, next(self._numbers))
        self._under_way[call.number] = call
        call.deadline = self._expiry.add(call.expire)
        params = None if request.params is UNSET else bytes(request.params)
        said = wire.NodeCall(self._outlet.node, call.number, account, request.method, params)

        def went_out(receivers: int | None) -> None:
            if receivers == 0:
                call.fail(Undelivered())

        size = 0 if params is None else len(params)
        if not self._bus.up:
            went_out(0)
        elif self._outlet.takes(account, size):
            self._outlet.ask(offer.node, said, went_out, call.lose, account, size)
        else:
            call.fail(RpcFailed(TOO_LARGE, "internal_error"))
        return call

    def forget(self, call: _Remote) -> bool:
        """Whether a call had no outcome yet."""
        if self._under_way.pop(call.number, None) is None:
            return False
        if call.deadline is not None:
            self._expiry.drop(call.deadline)
        return True

    def count(self, outcome: Sequence[Raw] | Failure) -> None:
        """A call has an outcome."""
        if not isinstance(outcome, Failure):
            result = "answered"
        else:
            result = "undelivered" if outcome.check(Undelivered) else "failed"
        self._results[result].inc()

    def hear(self, said: wire.NodeAnswer) -> None:
        """Another node says what became of a call."""
        call = self._under_way.get(said.number)
        if call is None or call.node != said.node:
            return
        if not said.delivered:
            call.fail(Undelivered())
        elif said.arguments is None:
            call.lose()
        else:
            call.settle([Raw(argument) for argument in said.arguments])

    def died(self, node: str) -> None:
        """Nobody there answers any more, or may have heard what was asked."""
        for call in [call for call in self._under_way.values() if call.node == node]:
            call.lose()

    def lost(self) -> None:
        """No answer will be heard."""
        for call in list(self._under_way.values()):
            call.lose()

    # -- calls of others ---------------------------------------------------------------------------

    def serve(self, said: wire.NodeCall) -> None:
        """A client of another node calls one of ours."""
        params = UNSET if said.params is None else Raw(said.params)
        request = RpcRequest(said.method, params)
        if not self._served.take(said.account, 1):
            self._answer(said, None, delivered=False)
            return
        answer = self._calls.serve(said.account, request)
        if answer is None:
            self._served.give_back(said.account, 1)
            self._answer(said, None, delivered=False)
            return
        answer.settled(partial(self._served_now, said))

    def _served_now(self, said: wire.NodeCall, outcome: Sequence[Raw] | Failure) -> None:
        self._served.give_back(said.account, 1)
        self._answer(said, None if isinstance(outcome, Failure) else outcome)

    def _answer(
        self, said: wire.NodeCall, arguments: Sequence[Raw] | None, *, delivered: bool = True
    ) -> None:
        """Say what became of it; there is no answer where the account makes too much of them at a time."""
        texts, size = None, sum(map(len, arguments or ()))
        if arguments is not None and self._outlet.takes(said.account, size):
            texts = list(map(bytes, arguments))
        answer = wire.NodeAnswer(self._outlet.node, said.number, texts, delivered)
        self._outlet.to(said.node, answer, said.account, size if texts else 0)
