"""One account cannot fill the way between nodes: what is large costs the account that made it."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred

from happy.cluster import rosters
from happy.cluster.feed import Told
from happy.cluster.room import WAY_BYTES, Room
from happy.realtime.client import Client
from happy.realtime.pending import TOO_LARGE, RpcFailed
from happy.realtime.updates import devices_of
from tests.cluster.several import SeveralCase, seqs
from tests.realtime.clients import events

MEGABYTE = Raw(b'"%s"' % (b"x" * 1_000_000))
MANY = 2 * WAY_BYTES // 1_000_000 + 7
"""More of these than a bus takes."""


def test_shares() -> None:
    """One alone gets half; the more want everything, the less each gets, and there is always some left."""
    room = Room(1000)
    assert [room.take("a", 250), room.take("a", 250), room.take("a", 1)] == [True, True, False]
    assert [room.take("b", 250), room.take("b", 1)] == [True, False]
    assert room.take("c", 125)
    room.give_back("a", 500)
    assert room.left == 625
    assert [room.take("b", 187), room.take("b", 2)] == [True, False]
    for account, amount in (("b", 437), ("c", 125)):
        room.give_back(account, amount)
    assert (room.left, room._had) == (1000, {})


class TestRoom(SeveralCase):
    """A greedy account, and another one, each with a caller at the first node and a target at the second."""

    async def setUp(self) -> None:
        await super().setUp()
        self.modest = await self.new_account()
        self.callers = {one: await self.nodes[0].client(one) for one in (self.account, self.modest)}
        self.targets = {one: await self.nodes[1].client(one) for one in (self.account, self.modest)}
        for account, target in self.targets.items():
            self.nodes[1].calls.register(target, "m")
            hosted: Any = self.nodes[0].cluster.hosting.get(account)
            await self.until(lambda hosted=hosted: list(hosted.roster.offers("m")))

    def call(self, account: str, params: Raw = MEGABYTE) -> Deferred[Any]:
        """What comes of a call: the length of the answer, or why there is none."""
        call = Deferred.fromCoroutine(self.nodes[0].calls.call(self.callers[account], "m", params))
        return call.addCallbacks(lambda answer: len(answer[0]), why)

    async def answers(self, account: str, numbers: range, answer: Raw) -> None:
        """The account's target answers its calls."""
        target = self.targets[account]
        await self.until(lambda: len(requests(target)) >= numbers.stop)
        for number in numbers:
            target.socket.answer(number, [answer])

    async def the_other_is_well(self) -> None:
        """Nothing was cut, and the modest account hears and is answered as ever."""
        await self.nodes[0].change(self.modest)
        call = self.call(self.modest)
        await self.answers(self.modest, range(1), MEGABYTE)
        self.assertEqual(await call, len(MEGABYTE))
        await self.until(lambda: seqs(self.targets[self.modest]) == [1])
        self.assertEqual(self.engine.cuts, 0)

    async def test_large_calls(self) -> None:
        """What is beyond the account's share fails at once, and says why; the rest is answered."""
        self.engine.freeze()
        calls = [self.call(self.account) for _ in range(MANY)]
        modest = self.call(self.modest)
        refused = [call for call in calls if call.called]
        self.assertEqual({await call for call in refused}, {TOO_LARGE})
        self.engine.thaw()
        taken = MANY - len(refused)
        self.assertEqual(taken, WAY_BYTES // 2 // len(MEGABYTE))
        await self.answers(self.account, range(taken), Raw(b"1"))
        self.assertEqual([await call for call in calls if call not in refused], [1] * taken)
        await self.answers(self.modest, range(1), Raw(b"1"))
        self.assertEqual(await modest, 1)
        self.assertEqual((self.engine.cuts, self.nodes[0].cluster._outlet.room.left), (0, WAY_BYTES))

    async def test_large_answers(self) -> None:
        """Who is beyond the share is told that there is no answer."""
        calls = [self.call(self.account, Raw(b"1")) for _ in range(MANY)]
        await self.until(lambda: len(requests(self.targets[self.account])) == MANY)
        self.engine.freeze()
        await self.answers(self.account, range(MANY), MEGABYTE)
        self.engine.thaw()
        found = [await call for call in calls]
        taken = WAY_BYTES // 2 // len(MEGABYTE)
        self.assertEqual(found, [len(MEGABYTE)] * taken + ["RPC target disconnected"] * (MANY - taken))
        await self.the_other_is_well()

    async def test_large_updates(self) -> None:
        """They are read from the log."""
        self.engine.freeze()
        outlet, payload = self.nodes[0].cluster._outlet, b"x" * self.nodes[0].bus.largest
        for seq in range(3 * WAY_BYTES // len(payload)):
            outlet.update(Told(seq, devices_of("somebody"), payload))
        said = self.nodes[0].metrics.happy_bus_messages_total
        self.assertEqual(said.labels("out", "NodeUpdate")._value.get(), WAY_BYTES // 2 // len(payload))
        self.engine.thaw()
        await self.the_other_is_well()

    async def test_many_calls(self) -> None:
        """An account whose target answers nothing leaves others their calls at that node."""
        self.nodes[1].cluster.calls._served = Room(4)
        calls = [self.call(self.account, Raw(b"1")) for _ in range(9)]
        await self.until(lambda: len(requests(self.targets[self.account])) == 2)
        await self.the_other_is_well()
        self.nodes[0].leave(self.callers[self.account])
        self.assertEqual({await call for call in calls}, {"RPC caller disconnected"})

    async def test_many_clients_that_move(self) -> None:
        """An account that fetches as many as it may leaves others theirs."""
        claims = self.nodes[0].cluster._claims
        self.assertTrue(claims._fetching.take(self.account, 500))
        gone, node = self.targets[self.account], self.nodes[1].cluster.node
        self.assertIsNone(await claims.fetch(self.callers[self.account], node, str(gone.pid), "none"))
        self.assertTrue(claims._fetching.take(self.modest, 1))

    async def test_long_names(self) -> None:
        """What is told of accounts after a loss waits until the names of others have gone out."""
        self.patch(rosters, "MOST_TELLING", 1000)
        a, b, _ = self.nodes
        accounts = [await self.new_account() for _ in range(4)]
        for account in accounts:
            a.calls.register(await a.client(account), "m" * 1000)
            await b.client(account)
        most = 0
        self.engine.leave()
        self.engine.delay = 0.01
        await self.reconnected()

        def known() -> bool:
            nonlocal most
            most = max(most, a.cluster.rosters._telling)
            hosted: list[Any] = [b.cluster.hosting.get(account) for account in accounts]
            return all(list(one.roster.offers("m" * 1000)) for one in hosted)

        await self.until(known)
        self.assertLessEqual(most, 2000)
        await self.until(lambda: not a.cluster.rosters._telling)


def why(failure: Any) -> str:
    """What a caller is told."""
    failure.trap(RpcFailed)
    return str(failure.value.error)


def requests(client: Client) -> list[Any]:
    """The calls that a client heard of."""
    return [argument for name, argument in events(client) if name == "rpc-request"]
