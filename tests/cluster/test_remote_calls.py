"""Calls between clients of different nodes (realtime.md B.7, B.13): executed at most once, no false ok."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred

from happy.realtime.client import Client
from happy.realtime.pending import RpcFailed
from tests.cluster.several import SeveralCase
from tests.realtime.clients import events


class TestRemoteCalls(SeveralCase):
    """A caller at the first node, targets at the others."""

    async def setUp(self) -> None:
        await super().setUp()
        self.caller = await self.nodes[0].client(self.account)

    async def target(self, at: int) -> Client:
        """A client that offers the method."""
        client = await self.nodes[at].client(self.account)
        self.nodes[at].calls.register(client, "m")
        return client

    async def known(self, at: int) -> None:
        """The caller's node knows that another one offers the method."""
        hosted = self.nodes[0].cluster.hosting.get(self.account)
        assert hosted is not None
        node = self.nodes[at].cluster.node
        await self.until(lambda: any(offer.node == node for offer in hosted.roster.offers("m")))

    def call(self) -> Deferred[Any]:
        call = Deferred.fromCoroutine(self.nodes[0].calls.call(self.caller, "m", Raw(b'{"n":1}')))

        def not_answered() -> None:  # A test need not wait for it.
            call.addErrback(lambda failed: failed.trap(RpcFailed) and None)

        self.addCleanup(not_answered)
        return call

    async def request(self, target: Client, count: int = 1) -> None:
        """The target hears of the call."""
        await self.until(lambda: len(requests(target)) == count)

    async def fails(self, call: Deferred[Any], error: str) -> None:
        with self.assertRaises(RpcFailed) as caught:
            await call
        self.assertEqual(caught.exception.error, error)

    async def test_an_answer(self) -> None:
        """The target hears what was said, and the caller what was answered."""
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        self.assertEqual(requests(target), [{"method": "m", "params": {"n": 1}}])
        target.socket.answer(0, [Raw(b'"done"')])
        self.assertEqual(list(map(bytes, await call)), [b'"done"'])

    async def test_a_target_whose_node_was_cut_off(self) -> None:
        """Its node may not have heard the call, or its answer was not heard: when that is back it fails."""
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        self.nodes[1].bus.cut()
        target.socket.answer(0, [Raw(b'"done"')])
        await self.fails(call, "RPC target disconnected")

    async def test_the_newest_wins(self) -> None:
        """Wherever it is."""
        here = await self.target(0)
        there = await self.target(1)
        await self.known(1)
        self.call()
        await self.request(there)
        self.nodes[0].calls.unregister(here, "m")
        self.nodes[0].calls.register(here, "m")
        self.call()
        await self.request(here)
        newest = await self.target(2)
        await self.known(2)
        self.call()
        await self.request(newest)
        self.assertEqual([len(requests(one)) for one in (here, there, newest)], [1, 1, 1])
        for target in (here, there, newest):
            target.socket.answer(0, [])

    async def test_called_at_once(self) -> None:
        """A caller that is there before its node knows of the target waits."""
        call = self.call()
        target = await self.target(2)
        await self.request(target)
        target.socket.answer(0, [])
        self.assertEqual(await call, [])

    async def test_the_target_leaves(self) -> None:
        """The call fails at once."""
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        self.nodes[1].leave(target)
        await self.fails(call, "RPC target disconnected")

    async def test_the_target_s_node_dies(self) -> None:
        """Nobody waits for thirty seconds."""
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        await self.nodes[1].die()
        await self.fails(call, "RPC target disconnected")

    async def test_the_target_s_node_is_gone_already(self) -> None:
        """Nobody heard of the call, so it is made elsewhere."""
        older = await self.target(2)
        await self.target(1)
        await self.known(1)
        await self.known(2)
        await self.nodes[1].die()
        call = self.call()
        await self.request(older)
        older.socket.answer(0, [])
        self.assertEqual(await call, [])

    async def test_the_target_is_gone_already(self) -> None:
        """The same, when only the client is, and its node was not heard yet."""
        older = await self.target(2)
        newer = await self.target(1)
        await self.known(1)
        await self.known(2)
        self.nodes[1].leave(newer)
        call = self.call()
        await self.request(older)
        older.socket.answer(0, [])
        self.assertEqual(await call, [])
        self.assertEqual(requests(newer), [])

    async def test_the_target_returns_elsewhere(self) -> None:
        """Within the grace window, the call goes where it is then."""
        target = await self.target(1)
        await self.known(1)
        self.nodes[1].leave(target)
        call = self.call()
        again = await self.target(2)
        await self.request(again)
        again.socket.answer(0, [])
        self.assertEqual(await call, [])

    async def test_the_caller_leaves(self) -> None:
        """Its call ends, and a late answer is nobody's."""
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        self.nodes[0].leave(self.caller)
        await self.fails(call, "RPC caller disconnected")
        target.socket.answer(0, [])
        self.assertEqual(self.nodes[0].cluster.calls._under_way, {})

    async def test_the_bus_breaks(self) -> None:
        """It is not known what becomes of the call; others between clients of one node go on."""
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        self.engine.leave()
        await self.fails(call, "RPC target disconnected")
        here = await self.target(0)
        local = self.call()
        await self.request(here)
        here.socket.answer(0, [])
        self.assertEqual(await local, [])
        await self.reconnected()

    async def test_nobody_but_the_caller(self) -> None:
        """As with one node."""
        self.nodes[0].calls.register(self.caller, "m")
        await self.fails(self.call(), "Cannot call RPC on the same socket")
        target = await self.target(1)
        await self.known(1)
        call = self.call()
        await self.request(target)
        target.socket.answer(0, [])
        self.assertEqual(await call, [])

    async def test_a_withdrawn_method(self) -> None:
        """It is not called any more."""
        target = await self.target(1)
        await self.known(1)
        self.nodes[1].calls.unregister(target, "m")
        hosted = self.nodes[0].cluster.hosting.get(self.account)
        assert hosted is not None
        await self.until(lambda: not list(hosted.roster.offers("m")))


def requests(client: Client) -> list[Any]:
    """The calls that a client heard of."""
    return [argument for name, argument in events(client) if name == "rpc-request"]
