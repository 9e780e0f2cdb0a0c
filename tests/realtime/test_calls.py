"""Remote calls, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, Raw
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.base.bounds import Budget
from happy.base.expiry import AT_ONCE, Expiry
from happy.metrics import Metrics
from happy.realtime import calls as module
from happy.realtime.calls import Calls
from happy.realtime.client import Client
from happy.realtime.pending import RpcFailed, Waiting
from tests.realtime.clients import connect, events


class CallsTests(SynchronousTestCase):
    """One caller, some targets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics(CollectorRegistry())
        self.calls = Calls(self.clock, self.metrics)
        self.caller = connect("a")

    def target(self, method: str = "m", account: str = "a") -> Client:
        client = connect(account)
        assert self.calls.register(client, method)
        return client

    def call(self, method: str = "m", params: Any = UNSET) -> Deferred[Sequence[Raw]]:
        return Deferred.fromCoroutine(self.calls.call(self.caller, method, params))

    def error(self, running: Deferred[Sequence[Raw]]) -> str:
        return self.failureResultOf(running, RpcFailed).value.error

    def leave(self, client: Client) -> None:
        self.calls.forget(client)
        for answered in client.socket.gone():
            answered(None)

    def test_answer(self) -> None:
        """The target's first argument comes back untouched, and params reach it untouched."""
        target = self.target()
        running = self.call(params=Raw(b'{"a": [1,null]}'))
        self.assertEqual(events(target), [("rpc-request", {"method": "m", "params": {"a": [1, None]}})])
        target.socket.answer(0, [Raw(b'"sealed"')])
        self.assertEqual([bytes(part) for part in self.successResultOf(running)], [b'"sealed"'])
        self.clock.advance(module.ANSWER_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_absent_params_stay_absent(self) -> None:
        """A call without params is forwarded without them."""
        target = self.target()
        self.call()
        self.assertEqual(events(target), [("rpc-request", {"method": "m"})])

    def test_newest_registration_wins(self) -> None:
        """Of several targets the newest is called; when it leaves, the one before."""
        first, second = self.target(), self.target()
        running = self.call()
        self.leave(second)
        self.assertEqual(self.error(running), "RPC target disconnected")
        self.call()
        self.assertEqual((len(events(first)), len(events(second))), (1, 1))

    def test_ranks_of_nodes_that_have_not_heard_of_each_other(self) -> None:
        """What is offered later has the higher rank, also at a node that has just begun."""
        time = [1_000.0]
        calls = [Calls(self.clock, self.metrics, now=lambda: time[0]) for _ in range(2)]
        ranks = []
        for times, at in ((5, 0), (1, 1), (1, 0)):
            client = connect("a")
            for method in map(str, range(times)):
                self.assertTrue(calls[at].register(client, method))
            ranks.append(max(calls[at].offered([client]).values()))
            time[0] += 0.01
        self.assertEqual(ranks, sorted(set(ranks)))

    def test_own_registration_is_passed_over(self) -> None:
        """A caller that serves the method itself reaches another server of it."""
        other = self.target()
        self.calls.register(self.caller, "m")
        self.call()
        self.assertEqual(len(events(other)), 1)

    def test_only_own_registration(self) -> None:
        """A caller cannot call itself."""
        self.calls.register(self.caller, "m")
        self.assertEqual(self.error(self.call()), "Cannot call RPC on the same socket")

    def test_other_accounts_are_out_of_reach(self) -> None:
        """A method of another account does not exist."""
        target = self.target(account="b")
        running = self.call()
        self.clock.advance(module.GRACE_SECONDS)
        self.assertEqual(self.error(running), "RPC method not available")
        self.assertEqual(events(target), [])

    def test_grace_window_ends(self) -> None:
        """Without a target the call fails after fifteen seconds, not before."""
        running = self.call()
        self.clock.advance(module.GRACE_SECONDS - 0.01)
        self.assertNoResult(running)
        self.clock.advance(0.01)
        self.assertEqual(self.error(running), "RPC method not available")

    def test_many_wait_on_one_timer(self) -> None:
        """Calls that wait have a timer for all of them, so that not all can be due in the same turn."""
        running = [self.call() for _ in range(2 * AT_ONCE)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(module.GRACE_SECONDS)
        for one in running:
            self.assertEqual(self.error(one), "RPC method not available")

    def test_registration_wakes_callers(self) -> None:
        """Every caller that waits is forwarded once the target has been told that it is registered."""
        one, other = self.call(), self.call()
        target = self.target()
        self.assertEqual(events(target), [])
        self.clock.advance(0)
        self.assertEqual(len(events(target)), 2)
        target.socket.answer(0, [])
        target.socket.answer(1, [])
        self.assertEqual((self.successResultOf(one), self.successResultOf(other)), ([], []))
        self.assertEqual(self.metrics.rpc_lookup_retries.labels("m")._sum.get(), 2)
        self.clock.advance(module.ANSWER_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone_before_it_is_called(self) -> None:
        """A target that leaves as soon as it came has not ended anybody's wait."""
        running = self.call()
        self.leave(self.target())
        self.clock.advance(0)
        target = self.target()
        self.clock.advance(0)
        target.socket.answer(0, [])
        self.assertEqual(self.successResultOf(running), [])

    def test_target_disconnects(self) -> None:
        """The call fails at once when its target goes; it is never an empty success."""
        target = self.target()
        running = self.call()
        self.leave(target)
        self.assertEqual(self.error(running), "RPC target disconnected")

    def test_no_answer(self) -> None:
        """Thirty seconds after it was forwarded the call fails; a late answer changes nothing."""
        target = self.target()
        running = self.call()
        self.clock.advance(module.ANSWER_SECONDS)
        self.assertEqual(self.error(running), "operation has timed out")
        target.socket.answer(0, [Raw(b"1")])

    def test_grace_does_not_shorten_the_answer(self) -> None:
        """The thirty seconds count from the forwarding (D-7f)."""
        running = self.call()
        self.clock.advance(10)
        self.target()
        self.clock.advance(0)
        self.clock.advance(module.ANSWER_SECONDS - 1)
        self.assertNoResult(running)
        self.clock.advance(1)
        self.assertEqual(self.error(running), "operation has timed out")

    def test_unregistered(self) -> None:
        """A withdrawn method is not called; withdrawing what was never offered is harmless."""
        target = self.target()
        self.calls.unregister(target, "m")
        self.calls.unregister(target, "never")
        running = self.call()
        self.clock.advance(module.GRACE_SECONDS)
        self.assertEqual(self.error(running), "RPC method not available")
        self.assertEqual(events(target), [])

    def test_withdrawn_during_a_call(self) -> None:
        """A target that withdraws a method may still answer its calls for four seconds, not later (B.7)."""
        target = self.target()
        self.calls.register(target, "other")
        answered, forgotten, other = self.call(), self.call(), self.call("other")
        self.calls.unregister(target, "m")
        self.clock.advance(module.WITHDRAWN_SECONDS - 0.01)
        target.socket.answer(0, [])
        self.assertEqual(self.successResultOf(answered), [])
        self.assertNoResult(forgotten)
        self.clock.advance(0.01)
        self.assertEqual(self.error(forgotten), "RPC target disconnected")
        target.socket.answer(1, [])
        self.assertNoResult(other)

    def test_withdrawn_for_a_moment(self) -> None:
        """A target that registers again in time goes on with its calls."""
        target = self.target()
        running = self.call()
        self.calls.unregister(target, "m")
        self.clock.advance(module.WITHDRAWN_SECONDS / 2)
        self.calls.register(target, "m")
        self.clock.advance(module.WITHDRAWN_SECONDS)
        self.assertNoResult(running)

    def test_withdrawn_and_gone(self) -> None:
        """A target that withdraws a method and leaves fails its calls once."""
        target = self.target()
        running, late = self.call(), self.call()
        self.clock.advance(module.ANSWER_SECONDS - 1)
        target.socket.forget_call(1)
        self.calls.unregister(target, "m")
        self.leave(target)
        self.assertEqual(self.error(running), "RPC target disconnected")
        self.clock.advance(1)
        self.assertEqual(self.error(late), "operation has timed out")
        self.clock.advance(module.WITHDRAWN_SECONDS)

    def test_registering_twice(self) -> None:
        """A second registration changes nothing."""
        target = self.target()
        self.assertTrue(self.calls.register(target, "m"))
        self.calls.unregister(target, "m")
        self.assertEqual(self.calls._methods, {})

    def test_bounded_methods(self) -> None:
        """One client offers a bounded number of methods."""
        client = connect("a")
        for number in range(module.MAX_METHODS):
            self.assertTrue(self.calls.register(client, str(number)))
        self.assertFalse(self.calls.register(client, "one more"))

    def test_bounded_names(self) -> None:
        """So do all clients of an account; what goes makes room."""
        self.patch(module, "MAX_NAMES", 10)
        first, second = connect("a"), connect("a")
        self.assertTrue(self.calls.register(first, "12345"))
        self.assertTrue(self.calls.register(second, "12345"))
        self.assertFalse(self.calls.register(second, "6"))
        self.assertTrue(self.calls.register(connect("b"), "6"))
        self.calls.forget(first)
        self.assertTrue(self.calls.register(second, "67890"))

    def test_bounded_calls(self) -> None:
        """One client has a bounded number of calls under way."""
        self.target()
        for _ in range(module.MAX_CALLS_IN_FLIGHT):
            self.call()
        self.assertEqual(self.error(self.call()), "Too many calls in flight")

    def test_answered_calls_are_forgotten(self) -> None:
        """A caller that goes on calling keeps nothing of what was answered, nor of what waited."""
        running = self.call()
        self.clock.advance(1)
        target = self.target()
        self.clock.advance(0)
        target.socket.answer(0, [Raw(b"1")])
        self.successResultOf(running)
        self.assertEqual(self.caller.calls, set())

    def test_no_room_elsewhere(self) -> None:
        """What a client offers and has no room for is not offered any more, and counts nowhere."""
        target, memory = self.target(), Budget(10)
        elsewhere = memory.open("account:a", connect("a").socket._link)
        self.assertFalse(self.calls.move(target, elsewhere))
        running = self.call()
        self.clock.advance(module.GRACE_SECONDS)
        self.assertEqual(self.error(running), "RPC method not available")
        self.calls.forget(target)
        elsewhere.close()
        self.assertEqual(memory.used, 0)

    def test_room_elsewhere(self) -> None:
        """What a client offers counts where it is moved to, and goes on being offered."""
        target, memory = self.target(), Budget(2**20)
        elsewhere = memory.open("account:a", connect("a").socket._link)
        self.assertTrue(self.calls.move(target, elsewhere))
        self.assertGreater(memory.used, 0)
        running = self.call()
        target.socket.answer(0, [Raw(b"1")])
        self.successResultOf(running)
        self.calls.forget(target)
        self.assertEqual(memory.used, 0)

    def test_a_caller_that_is_gone_calls_nobody(self) -> None:
        """A call whose caller left while it waited for the method is not forwarded when that comes."""
        self.calls = Calls(self.clock, self.metrics, Late())
        waiting = [self.call() for _ in range(2)]
        self.calls.forget(self.caller)
        target = self.target()
        self.clock.advance(0)
        self.assertEqual(events(target), [])
        self.assertEqual([self.error(one) for one in waiting], ["RPC caller disconnected"] * 2)


class WaitingTests(SynchronousTestCase):
    """One call that waits for its method."""

    def test_it_goes_on_once(self) -> None:
        """Whatever comes first ends it: an offer, the end of its patience, or its caller's."""
        clock, turns = Clock(), list[object]()
        waiting = Waiting(("a", "m"), {}, Expiry(clock, 1.0))
        waiting.turn.settled(turns.append)
        waiting.go_on()
        waiting.abandon()
        waiting.go_on()
        clock.advance(2.0)
        self.assertEqual(turns, [None])


class Late:
    """Has time for the first of several things, and for registrations."""

    def each(self, owner: str, things: Sequence[Any], act: Callable[[Any], None]) -> None:
        """See :class:`happy.base.pace.Pace`."""
        for thing in things if act.__name__ == "go_on" else things[:1]:
            act(thing)
