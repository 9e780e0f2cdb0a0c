"""What is known of clients at other nodes, and what is told of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail, succeed
from twisted.logger import LogEvent, globalLogPublisher

from happy.cluster import everywhere, rosters, wire
from happy.realtime.client import Client
from happy.realtime.updates import (
    Activity,
    MachineActivity,
    Scope,
    SessionEvent,
    devices_of,
    watchers_of_session,
)
from tests.cluster.several import SeveralCase, signals


class TestRosters(SeveralCase):
    """An account with an app at the first node; whoever is elsewhere comes in the tests."""

    async def setUp(self) -> None:
        await super().setUp()
        self.app = await self.nodes[0].client(self.account)

    async def machine(self, at: int) -> Client:
        return await self.nodes[at].client(self.account, Scope.MACHINE, "m")

    def beat(self, at: int, session: str = "s") -> None:
        body = Activity(id=session, active=True, active_at=1, thinking=False)
        self.nodes[at].everywhere.signal(devices_of(self.account), body)

    async def test_signals_go_where_apps_are(self) -> None:
        """And nowhere else: most heartbeats leave no node."""
        await self.machine(1)
        await self.machine(2)
        await self.acquainted()
        self.beat(1)
        await self.until(lambda: [one["id"] for one in signals(self.app)] == ["s"])
        self.nodes[0].leave(self.app)
        await self.until(lambda: not self.nodes[1].cluster.hosting.get(self.account).roster.users)
        hosted = self.nodes[1].cluster.hosting.get(self.account)
        await self.until(lambda: self.nodes[1].everywhere._acquainted(hosted))
        sent = self.published()
        self.beat(1)
        self.assertEqual(sent, [])

    def published(self) -> list[str]:
        """The channels on which something is said from now on, beats apart."""
        channels: list[str] = []

        def note(sender: Any, receiver: Any, channel: str, payload: bytes) -> bool:
            channels.extend([] if channel == "nodes" else [channel])
            return False

        self.engine.drops = note
        return channels

    async def test_signals_to_a_session(self) -> None:
        """They go to every node that hosts the account."""
        terminal = await self.nodes[1].client(self.account, Scope.SESSION, "s")
        await self.acquainted()
        event = SessionEvent(session_id="s", kind="done", title="", body="", timestamp=1)
        self.nodes[0].everywhere.signal(watchers_of_session(self.account, "s"), event)
        await self.until(lambda: len(signals(terminal)) == 1)
        self.assertEqual(len(signals(self.app)), 1)

    async def test_signals_from_where_nobody_is(self) -> None:
        """A node without clients of the account does not know whether others have some."""
        self.beat(2)
        await self.until(lambda: len(signals(self.app)) == 1)

    async def test_the_latest_of_a_state(self) -> None:
        """What comes from elsewhere supersedes what was told before, in the log of whoever is gone."""
        self.beat(0)
        self.beat(2)
        await self.until(lambda: len(signals(self.app)) == 2)
        [log] = self.nodes[0].recovery.replay._logs.values()
        self.assertEqual(len(log.entries), 1)

    async def test_viewing(self) -> None:
        """Whoever looks at a client anywhere is looking."""
        node = self.nodes[1]
        phone = await node.client(self.account, viewing=True)
        await self.acquainted()
        self.assertTrue(self.nodes[0].everywhere.viewing(self.account))
        node.everywhere.look(phone, False)
        await self.until(lambda: not self.nodes[0].everywhere.viewing(self.account))
        node.everywhere.look(phone, True)
        await self.until(lambda: self.nodes[0].everywhere.viewing(self.account))
        self.assertFalse(self.nodes[2].everywhere.viewing(self.account))
        self.patch(everywhere, "ANSWER_SECONDS", 30.0)
        await self.nodes[2].everywhere.acquainted(self.account)
        self.assertTrue(self.nodes[2].everywhere.viewing(self.account))
        self.engine.leave()
        self.assertFalse(self.nodes[0].everywhere.viewing(self.account))
        self.assertTrue(node.everywhere.viewing(self.account))
        await self.reconnected()

    async def test_machines(self) -> None:
        """A machine is there as long as any node has a connection of it."""
        first, second = await self.machine(1), await self.machine(2)
        await self.acquainted()
        has = self.nodes[0].everywhere.machine_connected
        self.assertTrue(has(self.account, "m"))
        self.nodes[1].leave(first)
        await self.until(lambda: not self.nodes[1].cluster.hosting.get(self.account).machines)
        self.assertTrue(has(self.account, "m"))
        self.nodes[2].leave(second)
        await self.until(lambda: not has(self.account, "m"))

    async def test_asked_while_somebody_comes(self) -> None:
        """What one node asked for is told to the others as well."""
        _, b, c = self.nodes
        await b.client(self.account)
        await self.acquainted()
        await self.machine(1)
        asked = wire.NodeState(c.cluster.node, self.account, True, False, False, [], {}, {})
        b.cluster.rosters.hear(asked)
        await self.until(lambda: self.nodes[0].everywhere.machine_connected(self.account, "m"))

    async def test_machines_that_went_while_the_bus_was_away(self) -> None:
        """Users hear of them when it is back."""
        machine = await self.machine(1)
        await self.acquainted()
        self.engine.leave()
        self.nodes[1].leave(machine)
        self.engine.come_back()
        await self.until(lambda: signals(self.app))
        [signal] = signals(self.app)
        self.assertEqual((signal["type"], signal["id"], signal["active"]), ("machine-activity", "m", False))

    async def test_a_node_that_dies(self) -> None:
        """Its machines are offline when they have not come back somewhere within a few seconds."""
        await self.machine(1)
        await self.nodes[1].client(self.account, Scope.MACHINE, "returns")
        await self.acquainted()
        await self.nodes[1].die()
        hosted = self.nodes[0].cluster.hosting.get(self.account)
        assert hosted is not None
        await self.until(lambda: not hosted.roster.peers)
        await self.nodes[2].client(self.account, Scope.MACHINE, "returns")
        await self.until(lambda: signals(self.app))
        [signal] = signals(self.app)
        self.assertEqual((signal["id"], signal["active"]), ("m", False))

    async def test_a_node_that_was_taken_for_dead(self) -> None:
        """It tells everything again."""
        await self.machine(1)
        await self.acquainted()
        self.engine.split([self.nodes[1].bus])
        hosted = self.nodes[0].cluster.hosting.get(self.account)
        assert hosted is not None
        await self.until(lambda: not hosted.roster.peers)
        self.engine.split()
        await self.until(lambda: hosted.roster.has_machine("m"))

    async def test_an_account_that_is_left(self) -> None:
        """Others forget what the node had of it."""
        phone = await self.nodes[1].client(self.account)
        await self.acquainted()
        self.nodes[1].leave(phone)
        hosting = self.nodes[1].cluster.hosting
        hosted = hosting.get(self.account)
        assert hosted is not None
        hosting.look(hosted)
        self.assertIsNone(hosting.get(self.account))
        here = self.nodes[0].cluster.hosting.get(self.account)
        assert here is not None
        await self.until(lambda: not here.roster.peers)

    async def test_files_elsewhere(self) -> None:
        """A node that keeps its files somewhere else is complained of, once."""
        nodes = [node.cluster for node in self.nodes]
        nodes[0].company.files = nodes[2].company.files = "here"
        said: list[LogEvent] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        nodes[1].company.files = "there"
        for _ in range(2):
            nodes[1]._say_beat()
        await self.until(lambda: all(node.company._elsewhere == {nodes[1].node} for node in nodes[::2]))
        told = [event for event in said if "elsewhere" in str(event.get("log_format"))]
        self.assertEqual([event["name"] for event in told if event["log_source"] is nodes[0].company], ["b"])

    async def test_namesakes(self) -> None:
        """A node tells, once, of another that has its name, unless that one leaves or names route nobody."""
        first, second, third = (node.cluster for node in self.nodes)
        first.company.routed = True
        said: list[LogEvent] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        third._draining = True
        for namesake in (second, third):
            namesake.company.name = first.company.name
            for _ in range(2):
                namesake._say_beat()
        await self.until(lambda: second.node in first.company._namesakes)
        await self.until(lambda: first.nodes.known[third.node].said.draining)
        told = [event["log_source"] for event in said if "is called" in str(event.get("log_format"))]
        self.assertEqual((told, first.company._namesakes), ([first.company], {second.node}))

    async def test_orders_to_namesakes(self) -> None:
        """What came of an order at each of two nodes of one name is known."""
        first, *others = (node.cluster for node in self.nodes)
        await self.until(lambda: len(first.nodes.known) == 2)
        for number, other in enumerate(others):
            other.company.name = "twin"
            other.orders.obey = lambda what, members, number=number: succeed(number)
            other._say_beat()
        await self.until(lambda: {one.said.name for one in first.nodes.known.values()} == {"twin"})
        came, silent = await first.orders.give("count", {})
        self.assertEqual((sorted(came.values()), silent), ([0, 1], []))
        self.assertTrue({"twin"} < set(came) <= {"twin", *(f"twin ({other.node})" for other in others)})
        others[0].orders.obey = lambda what, members: fail(RuntimeError())
        came, silent = await first.orders.give("count", {})
        self.assertEqual((came, silent), ({"twin": 1}, ["twin"]))

    async def test_one_of_all(self) -> None:
        """There is always one that does what one has to do, and the next when it is gone."""
        nodes = {node.cluster.node: node for node in self.nodes}
        await self.until(lambda: all(len(node.cluster.nodes.known) == 2 for node in self.nodes))
        self.nodes[0].cluster.company.files = "of its own"
        self.nodes[0].cluster._say_beat()
        others = sorted(node.cluster.node for node in self.nodes[1:])
        first, second, _ = (nodes[name] for name in sorted(nodes))
        await self.until(lambda: nodes[others[0]].cluster.is_first(of_files=True))
        self.assertFalse(nodes[others[1]].cluster.is_first(of_files=True))
        self.assertTrue(self.nodes[0].cluster.is_first(of_files=True))
        self.assertEqual([node for node in self.nodes if node.cluster.is_first()], [first])
        await first.stop()
        await self.until(second.cluster.is_first)

    async def test_stop_windows(self) -> None:
        """A session that was stopped at one node is ignored at the others, until it is resumed anywhere."""
        await self.machine(1)
        await self.acquainted()
        await self.nodes[0].presence.stop_session(self.account, "s")
        stopped = self.nodes[1].presence.stopped
        await self.until(lambda: stopped(self.account))
        self.assertLessEqual(stopped(self.account)["s"], 60.0)
        await self.machine(2)
        await self.until(lambda: self.nodes[2].presence.stopped(self.account))
        await self.nodes[1].presence.resume_session(self.account, "s")
        await self.until(lambda: not self.nodes[0].presence.stopped(self.account))

    async def test_resumed_by_an_outsider(self) -> None:
        """A node that hosts nobody of the account, and never heard of the stop, resumes it for all others."""
        await self.machine(1)
        await self.acquainted()
        await self.nodes[0].presence.stop_session(self.account, "s")
        here, there = self.nodes[0].presence.stopped, self.nodes[1].presence.stopped
        await self.until(lambda: there(self.account))
        self.assertEqual(self.nodes[2].presence.stopped(self.account), {})
        await self.nodes[2].presence.resume_session(self.account, "s")
        await self.until(lambda: not (here(self.account) or there(self.account)))

    async def test_shared_limits(self) -> None:
        """What was admitted at one node counts at the others too."""
        here, there = self.nodes[0], self.nodes[1]
        await self.machine(1)
        self.assertEqual([here.uses.admit("key"), here.uses.admit("key")], [True, True])
        await here.presence.stop_session(self.account, "s")  # which is heard after them
        await self.until(lambda: there.presence.stopped(self.account))
        self.assertEqual([there.uses.admit("key"), there.uses.admit("key")], [True, False])
        self.assertTrue(there.uses.admit("another"))

    async def test_machines_of_a_signal(self) -> None:
        """A machine that comes is told to apps at other nodes."""
        body = MachineActivity(id="m", active=True, active_at=1)
        self.nodes[1].everywhere.signal(devices_of(self.account), body)
        await self.until(lambda: [one["active"] for one in signals(self.app)] == [True])

    async def test_a_mistake_while_telling(self) -> None:
        """It is logged, and whatever changes next is told."""
        a, b, _ = self.nodes
        await b.client(self.account)
        await a.client(self.account)
        await self.acquainted()
        about, said = a.cluster._outlet.about, []

        def fail_once(account: str, word: Any) -> Any:
            said.append(word)
            return 1 / 0 if len(said) == 1 else about(account, word)

        self.patch(a.cluster._outlet, "about", fail_once)
        await a.client(self.account, Scope.MACHINE, "m1")
        await self.until(lambda: len(self.flushLoggedErrors(ZeroDivisionError)))
        await a.client(self.account, Scope.MACHINE, "m2")
        await self.until(lambda: b.everywhere.machine_connected(self.account, "m2"))

    async def test_many_accounts_are_told_in_turns(self) -> None:
        """A node that knows nothing any more hears of all, but not in one turn of the reactor."""
        self.patch(rosters, "STATES_AT_ONCE", 2)
        a, b, _ = self.nodes
        accounts = [await self.new_account() for _ in range(5)]
        for account in accounts:
            await a.client(account)
            await b.client(account)
        of_a = a.cluster.node

        def known() -> int:
            hosted = [b.cluster.hosting.get(account) for account in accounts]
            return sum(one is not None and of_a in one.roster.peers for one in hosted)

        await self.until(lambda: known() == 5)
        for one in b.cluster.hosting:
            one.roster.drop(of_a)
        a.cluster.rosters.tell_everything(b.cluster.node)
        await self.until(lambda: known() == 5)
