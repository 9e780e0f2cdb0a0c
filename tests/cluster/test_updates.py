"""Updates over several nodes: every client hears every number, once, in order, whatever happens."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from happy.cluster import claims as claims_module
from happy.cluster import reading, upkeep
from happy.cluster.bus import is_account
from happy.cluster.feed import Feed
from happy.realtime import hub, large_updates, updates
from happy.realtime.client import Client
from happy.realtime.large_updates import size_of_update
from happy.realtime.updates import (
    DeleteMachine,
    TextVersion,
    Update,
    UpdateMachine,
    devices_of,
)
from happy.storage import log
from happy.storage.messages import IncomingMessage
from tests.cluster.several import SeveralCase, seqs
from tests.harness import psql
from tests.realtime.clients import connect, events, packets

TOLD = reading._told
ENCODE = updates.encode_update
FOREIGN = 'UPDATE "Account" SET "seq" = "seq" + 1 WHERE "id" = %s'


class TestUpdates(SeveralCase):
    """An account with a client at each node."""

    async def setUp(self) -> None:
        await super().setUp()
        self.clients = [await node.client(self.account) for node in self.nodes]
        await self.acquainted()

    async def everybody_hears(self, number: int, clients: list[Client] | None = None) -> None:
        """All numbers up to this one."""
        for client in clients or self.clients:
            await self.until(lambda client=client: seqs(client)[-1:] == [number])
            self.assertEqual(seqs(client), list(range(1, number + 1)))

    async def test_each_node_writes(self) -> None:
        """What is heard is the same everywhere, but for the offsets."""
        a, b, c = self.nodes
        await a.change(self.account, "one")
        await b.change(self.account, "two")
        [stored] = await c.send(self.account, self.session, "sealed")
        await self.everybody_hears(3)
        heard = [[argument for _, argument in events(client)] for client in self.clients]
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(heard[2][2]["body"]["message"]["id"], stored.id)
        self.assertEqual({json.dumps(one) for one in heard[0]}, {json.dumps(one) for one in heard[2]})

    async def test_writers_race(self) -> None:
        """Nobody who is answered has not heard what came before."""
        await self.race()

    async def test_writers_race_while_the_bus_loses(self) -> None:
        """What does not arrive is read."""
        count = iter(range(10**6))
        self.engine.drops = lambda *message: next(count) % 3 == 0
        await self.race()

    async def race(self) -> None:
        late = []

        async def write(at: int, n: int) -> None:
            node, client = self.nodes[at], self.clients[at]
            if n % 2:
                await node.change(self.account, f"{at} {n}")
            else:
                [stored] = await node.send(self.account, self.session, f"{at} {n}")
                heard = [argument["body"].get("message", {}).get("id") for _, argument in events(client)]
                late.extend([] if stored.id in heard else [stored.id])

        work = [Deferred.fromCoroutine(write(at, n)) for n in range(30) for at in range(3)]
        await gatherResults(work)
        await self.everybody_hears(90)
        self.assertEqual(late, [])
        self.assertEqual([node.everywhere._own for node in self.nodes], [{}, {}, {}])

    async def test_the_sender_is_left_out(self) -> None:
        """Wherever it is, and also when the message is read from the log."""
        a, b, _ = self.nodes
        self.engine.drops = lambda *message: True
        await a.send(self.account, self.session, "sealed", skip=self.clients[1].socket)
        self.engine.drops = lambda *message: False
        await b.change(self.account)
        await self.until(lambda: seqs(self.clients[1]) == [2])

    async def test_what_is_found_already(self) -> None:
        """An answer that reveals what another node stored comes after everything before it (D-3)."""
        a, b, _ = self.nodes
        self.engine.drops = lambda *message: True
        await a.change(self.account)
        message = IncomingMessage("local", "sealed")
        [stored] = await a.committer.append(self.account, self.session, [message])
        self.assertEqual(seqs(self.clients[1]), [])
        [found] = await b.committer.append(self.account, self.session, [message])
        self.assertEqual((found.id, found.new, seqs(self.clients[1])), (stored.id, False, [1, 2]))

    async def test_what_is_read(self) -> None:
        """The same holds for whoever reads."""
        a, b, _ = self.nodes
        self.engine.drops = lambda *message: True
        await a.change(self.account)
        await b.committer.settled(self.account)
        self.assertEqual(seqs(self.clients[1]), [1])

    async def test_the_bus_is_away(self) -> None:
        """Clients of the writer hear at once, the others a little later; afterwards all is as before."""
        a, b, _ = self.nodes
        up = [node.metrics.happy_bus_up.labels(name)._child_samples for node, name in self.named()]
        self.engine.leave()
        self.assertEqual([samples()[0].value for samples in up], [0, 0, 0])
        await a.change(self.account)
        self.assertEqual(seqs(self.clients[0]), [1])
        await self.everybody_hears(1)
        heard = b.metrics.happy_bus_messages_total.labels("in", "NodeUpdate")._value
        self.assertEqual(heard.get(), 0)
        newcomer = await b.client(await self.new_account())
        await self.reconnected()
        await self.acquainted()
        await b.change(self.account)
        await a.change(newcomer.account)
        await self.everybody_hears(2)
        await self.everybody_hears(1, [newcomer])
        self.assertGreater(heard.get(), 0)

    async def test_the_bus_stands_still(self) -> None:
        """What is written meanwhile is read, long before the bus is given up."""
        self.engine.freeze()
        self.addCleanup(self.engine.thaw)
        await self.nodes[0].change(self.account)
        await self.everybody_hears(1)
        self.assertTrue(all(node.bus.up for node in self.nodes))

    async def test_a_node_dies_before_it_tells(self) -> None:
        """The others look for what it may have committed."""
        self.engine.drops = lambda *message: True
        await self.nodes[0].change(self.account)
        self.engine.drops = lambda *message: False
        await self.nodes[0].die()
        await self.everybody_hears(1)

    async def test_a_large_update(self) -> None:
        """It is not carried, but read."""
        [stored] = await self.nodes[0].send(self.account, self.session, "x" * 300_000)
        await self.everybody_hears(1)
        [(_, told)] = events(self.clients[2])
        self.assertEqual(told["body"]["message"]["id"], stored.id)

    async def test_very_large_updates(self) -> None:
        """They are written into the log, told here and told there without being there as a whole anywhere."""

        def encode(update: Update) -> bytes:
            assert size_of_update(update) < 2**20
            return ENCODE(update)

        for module in (large_updates, hub):
            self.patch(module, "encode_update", encode)
        self.patch(log, "PART", 2**20)
        text = "\U0001f600é\n" * 1_000_000

        async def work(tx: Any) -> None:
            for metadata in (text, "small"):
                version = TextVersion(value=metadata, version=1)
                tx.publish(devices_of(self.account), UpdateMachine(machine_id="m", metadata=version))

        await self.nodes[0].database.transact(work, accounts=[self.account])
        await self.nodes[1].send(self.account, self.session, text)
        await self.nodes[2].change(self.account, "last")
        await self.everybody_hears(4)
        heard = [[argument for _, argument in events(client)] for client in self.clients]
        for first, second, third, last in heard:
            self.assertEqual(first, {**heard[0][0], "seq": 1})
            self.assertEqual(first["body"]["metadata"]["value"], text)
            self.assertEqual(second["body"]["metadata"]["value"], "small")
            self.assertEqual(third["body"]["message"]["content"]["c"], text)
            self.assertEqual(last["body"]["machineId"], "last")

    async def test_others_do_not_wait_until_something_large_is_read(self) -> None:
        """What is missing of other accounts is read meanwhile."""
        whole, read = log.part, Deferred[None]()

        async def part(*arguments: Any, **named: Any) -> str | None:
            await read
            return await whole(*arguments, **named)

        self.patch(log, "PART", 2**20)
        self.patch(log, "part", part)
        modest = await self.new_account()
        client = await self.nodes[1].client(modest)
        await self.nodes[0].send(self.account, self.session, "x" * 3_000_000)
        await self.until(lambda: self.nodes[1].cluster._reading._large)
        self.engine.drops = lambda *message: True
        await self.nodes[0].change(modest)
        self.nodes[1].cluster._reading.catch_up()
        await self.everybody_hears(1, [client])
        self.assertEqual(seqs(self.clients[1]), [])
        read.callback(None)
        await self.everybody_hears(1)

    async def test_a_mistake_while_reading_what_is_large(self) -> None:
        """Other accounts' large updates are read all the same as soon as anything of theirs is looked for."""
        whole, read, wrong = log.part, Deferred[None](), [ZeroDivisionError()]

        async def part(*arguments: Any, **named: Any) -> str | None:
            await read
            return await whole(*arguments, **named)

        node, second = self.nodes[1], await self.new_account()
        work = node.cluster._reading
        fill_in = work._fill_in

        def fill_in_later(*arguments: Any) -> None:
            if wrong:
                raise wrong.pop()
            fill_in(*arguments)

        self.patch(log, "PART", 2**20)
        self.patch(log, "part", part)
        self.patch(work, "_fill_in", fill_in_later)
        client, session = await node.client(second), await self.new_session(second)
        await self.nodes[0].send(self.account, self.session, "x" * 3_000_000)
        await self.nodes[0].send(second, session, "x" * 3_000_000)
        large = work._large
        await self.until(lambda: len(large) == 2)
        self.assertEqual(next(iter(large)).account, self.account)
        read.callback(None)
        await self.until(lambda: self.flushLoggedErrors(ZeroDivisionError))
        work.ask(next(iter(large)))
        await self.everybody_hears(1, [client])
        work.catch_up()
        await self.everybody_hears(1)

    async def test_somebody_else_writes(self) -> None:
        """A number without a row cuts the account's sockets, and nobody comes back as if nothing had been."""
        client = self.clients[1]
        psql(self.dsn, FOREIGN, (self.account,))
        await self.nodes[0].change(self.account)
        await self.until(lambda: client.socket._link.closed)
        self.assertEqual(self.nodes[1].metrics.happy_feed_gaps_total.labels("cut")._value.get(), 1)
        node, pid = self.nodes[1], client.pid
        offset = json.loads(packets(client)[-1][2:])[-1] if packets(client) else "none-0"
        node.leave(client, "forced server close")
        again = await node.client(self.account)
        self.assertIsNone(node.recovery.resume(again, pid, offset))
        await self.nodes[2].change(self.account)
        await self.until(lambda: seqs(again))
        self.assertEqual(seqs(again), [3])

    async def test_accounts_without_clients(self) -> None:
        """Nobody hosts them; whoever comes later hears what is later."""
        other = await self.new_account()
        await self.nodes[0].change(other)
        late = await self.nodes[1].client(other)
        await self.nodes[2].change(other)
        await self.until(lambda: seqs(late) == [2])

    async def test_several_accounts_in_a_transaction(self) -> None:
        """Each hears its own."""
        other = await self.new_account()
        theirs = await self.nodes[2].client(other)

        async def work(tx: Any) -> None:
            for account in (self.account, other, self.account):
                tx.publish(devices_of(account), DeleteMachine(machine_id="m"))

        await self.nodes[0].database.transact(work, accounts=[self.account, other])
        await self.everybody_hears(2)
        await self.everybody_hears(1, [theirs])

    async def test_a_bus_that_lies(self) -> None:
        """What others write is heard in the end, although the bus says that all is well; that is counted."""
        for module, name in ((upkeep, "UPKEEP_SECONDS"), (reading, "SILENT_SECONDS")):
            self.patch(module, name, 0.05)
        self.engine.drops = lambda sender, receiver, channel, payload: is_account(channel)
        await self.nodes[0].change(self.account)
        await self.everybody_hears(1)
        looks = self.nodes[1].metrics.happy_catch_ups_total.labels("missed")
        self.assertEqual(looks._value.get(), 1)
        self.assertEqual(self.nodes[0].metrics.happy_catch_ups_total.labels("missed")._value.get(), 0)

    async def test_a_database_that_does_not_answer(self) -> None:
        """Nothing is kept of those who waited for a number meanwhile, and gave up."""
        asking = self.nodes[0].cluster._reading
        asking.stop()
        for _ in range(100):
            asked = asking.number(self.account)
            asked.cancel()
            await self.assertFailure(asked, CancelledError)
        self.assertEqual(len(asking._joining), 0)

    async def test_an_account_that_is_left_with_a_gap(self) -> None:
        """It is not asked for any more, and others that have one are."""
        node = self.nodes[1]
        other = Feed(self.account, node.everywhere, node.cluster._clock)
        other.join(0)
        node.everywhere.ask(other)
        other.end()
        self.engine.drops = lambda *message: True
        await self.nodes[0].change(self.account)
        await deferLater(self.reactor, 0)
        self.engine.drops = lambda *message: False
        await self.nodes[0].change(self.account)
        await self.everybody_hears(2)

    async def test_a_mistake_while_reading(self) -> None:
        """It is logged, and what is missing then is read the next time."""
        self.engine.drops = lambda *message: True
        self.patch(reading, "_told", lambda *_: 1 / 0)
        await self.nodes[0].change(self.account)
        self.nodes[1].cluster.catch_up("asked")
        await self.until(lambda: len(self.flushLoggedErrors(ZeroDivisionError)))
        self.patch(reading, "_told", TOLD)
        self.nodes[1].cluster.catch_up("asked")
        await self.everybody_hears(1, self.clients[:2])

    async def test_told_while_a_client_is_about_to_be_claimed(self) -> None:
        """What this node tells before it asks for a client of another one is asked for there as well."""
        a, b, _ = self.nodes
        await a.change(self.account)
        await self.everybody_hears(1)
        gone = self.clients[1]
        offset = json.loads(packets(gone)[-1][2:])[-1]
        b.leave(gone, "transport close")
        self.engine.drops = lambda sender, receiver, channel, payload: is_account(channel)
        claims = a.cluster._claims

        async def slowly(account: str) -> None:
            if seqs(self.clients[0]) == [1]:
                await a.change(account)

        self.patch(claims, "_told", slowly)
        self.patch(claims_module, "FETCH_SECONDS", 30.0)
        self.patch(claims_module, "LET_GO_SECONDS", 30.0)
        moved = await claims.fetch(connect(self.account), b.cluster.node, str(gone.pid), offset)
        assert moved is not None
        self.assertEqual([json.loads(packet.text[2:])[1]["seq"] for packet in moved.missed], [2])
