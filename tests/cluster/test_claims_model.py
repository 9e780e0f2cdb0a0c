"""Clients that are lost and come back at any node, on top of the feeds' world.

Hubs, logs and claims are the real ones. What nodes say beside updates reaches each of them in the order in
which it was said, as over any bus; how soon is another matter. A node may be busy: what is to be told to
clients then waits in a line.
"""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from happy.cluster import wire
from happy.cluster.claims import Claims
from happy.cluster.feed import Feed, Told
from happy.metrics import Metrics
from happy.realtime.calls import Calls
from happy.realtime.client import Client
from happy.realtime.hub import Hub
from happy.realtime.recovery import Moved, Recovery
from happy.realtime.replay import ACCOUNT_BYTES, OVERHEAD
from happy.realtime.updates import Audience
from tests.cluster.slow import Slow
from tests.cluster.world import NODES, Node, World, explore, find_fault
from tests.realtime.clients import connect

ANN = Audience("ann")
METRICS = Metrics(CollectorRegistry())
FATES = st.sampled_from(["lost", "half-open"])
names = itertools.count()


class Visitor:
    """A client as its owner sees it: what it heard of both kinds since it began, wherever that was.

    ``joined_at`` is the latest number that may have been told before it came.
    """

    def __init__(self, signals: int, joined_at: int = 0) -> None:
        self.joined_at = joined_at
        self.numbers: list[int] = []
        self.signals: list[int] = []
        self.first_signal = signals
        self.pid: str | None = None
        self.offset: str | None = None
        self.client: Client | None = None
        self.read = 0
        self.comes = self.broken = False
        """Whether something was lost that it should have heard."""

    def listen(self) -> None:
        """Take what was sent."""
        if self.client is None:
            return
        packets = self.client.socket._link.packets
        for packet in packets[self.read :]:
            name, argument, *offset = json.loads(packet.text[2:])
            self.offset = offset[0] if offset else self.offset
            (self.numbers if name == "update" else self.signals).append(argument["seq"])
        self.read = len(packets)

    @property
    def since(self) -> int:
        """The number before the first that it heard, or is to hear."""
        return self.numbers[0] - 1 if self.numbers else self.joined_at


class RecoveringNode(Node):
    """One node with a hub."""

    world: Recovering

    def begin(self) -> None:
        super().begin()
        clock: Any = self.world.clock
        self.node = f"node{next(names)}"
        self.words: list[bytes] = []
        self.recovery = Recovery(clock, self.world.log_bytes)
        self.recovery.replay.node = f"{self.node}."
        self.pace = Slow()
        self.hub = Hub(METRICS, self.recovery, self.pace)  # type: ignore[arg-type]
        hosting: Any = SimpleNamespace(get=lambda account: self if self.hosts else None)
        rosters: Any = SimpleNamespace(tell=lambda account: None)
        self.claims = Claims(self.hub, self, clock, hosting, rosters, self.world.known(self))  # type: ignore[arg-type]
        self.claims.calls = Calls(clock, METRICS)
        self.visitors: list[Visitor] = []

    def tell(self, told: Told) -> None:
        self.hub.deliver_text(ANN, b'{"seq":%d}' % told.seq, None)

    def cut(self, account: str) -> None:
        self.hub.cut(account)
        for visitor in self.visitors:
            visitor.client = None
        self.visitors = []

    def ask(self, *said: Any) -> Any:
        """What a feed, and what claims ask for."""
        if len(said) == 1:
            return super().ask(*said)
        node, word, out, _ = said
        out(self.world.say(self, node, word))
        return None

    def to(self, node: str, said: wire.NodeWord, account: str = "", size: int = 0) -> None:
        self.world.say(self, node, said)

    def takes(self, account: str, size: int) -> bool:
        return True

    def hear(self, word: bytes) -> None:
        """Something that another node said."""
        said = wire.decode(word)
        if isinstance(said, wire.NodeSignal):
            self.hub.signal_text(ANN, said.payload, said.state)
        elif isinstance(said, wire.Claim):
            self.claims.serve(said)
        elif isinstance(said, wire.Claimed):
            self.claims.hear(said)

    def lose(self, visitor: Visitor, *, noticed: bool) -> None:
        """A client is lost, and this is heard of or not."""
        visitor.listen()
        client, visitor.client = visitor.client, None
        self.visitors.remove(visitor)
        assert client is not None
        if noticed:
            self.hub.remove(client)
            self.recovery.leave(client, "transport close")

    def come(self, visitor: Visitor) -> None:
        """One comes, or comes back."""
        if visitor not in self.world.away:
            self.world.away.append(visitor)
        visitor.comes = True
        client = connect("ann")
        pid, offset = visitor.pid, visitor.offset
        node = self.claims.had(pid, offset)
        if node is None or pid is None or offset is None:
            self.admit(client, visitor, None, self.feed)
        else:
            fetching = Deferred.fromCoroutine(self.claims.fetch(client, node, pid, offset))
            fetching.addCallback(lambda moved, feed: self.admit(client, visitor, moved, feed), self.feed)
            fetching.addErrback(self.world.faults.append)

    def admit(self, client: Client, visitor: Visitor, moved: Moved | None, feed: Feed) -> None:
        """As the application does it, in one turn."""
        visitor.comes = False
        if feed.ended:
            return
        recovered = self.recovery.resume(client, visitor.pid, visitor.offset) if moved is None else moved
        self.world.away.remove(visitor)
        assert not (recovered and visitor.broken)
        if isinstance(recovered, Moved):
            self.recovery.take_in(client, recovered)
        elif recovered is None:
            self.recovery.enter(client)
            assert self.feed.next is not None
            visitor.__init__(len(self.world.said), self.feed.next - 1)  # type: ignore[misc]
        elif isinstance(recovered.former, Client):
            self.hub.remove(recovered.former)
            self.recovery._live[str(visitor.pid)] = client
            client.pid, client.since = visitor.pid, recovered.former.since
            client.came_with = recovered.former.came_with
        client.socket._link.packets += recovered.missed if recovered else []
        visitor.client, visitor.pid, visitor.read = client, client.pid, 0
        self.hub.add(client)
        self.visitors.append(visitor)


class Recovering(World):
    """The same world, and visitors of it."""

    node_class = RecoveringNode
    nodes: list[RecoveringNode]  # type: ignore[assignment]
    log_bytes = ACCOUNT_BYTES

    def begin_world(self) -> None:
        self.said: list[bool] = []
        """Of each signal, whether everybody has to hear it."""
        self.away: list[Visitor] = []
        self.moved = 0
        self.faults: list[Failure] = []
        """What went wrong while somebody was let in."""

    def known(self, me: RecoveringNode) -> Any:
        """The nodes that one hears of."""

        class Known:
            def __contains__(_, node: object) -> bool:
                return any(one.node == node for one in self.nodes if one is not me)

        return Known()

    def say(self, sender: RecoveringNode, receiver: str | None, word: wire.NodeWord) -> int:
        """To one node, or to all others."""
        hearing = [
            node
            for node in self.nodes
            if sender.up and node.up and node is not sender and receiver in (None, node.node)
        ]
        for node in hearing:
            node.words.append(wire.encode(word))
        return len(hearing)

    @rule(at=NODES, many=st.integers(1, 3))
    def hear_words(self, at: int, many: int) -> None:
        """A node hears what was said next."""
        for _ in range(min(many, len(self.nodes[at].words))):
            self.nodes[at].hear(self.nodes[at].words.pop(0))
            self.clock.advance(0)

    @rule(at=NODES)
    def signal(self, at: int) -> None:
        """A node tells something that passes."""
        node = self.nodes[at]
        payload = b'{"seq":%d}' % len(self.said)
        self.said.append(all(one.up for one in self.nodes))
        node.hub.signal_text(ANN, payload, None)
        self.say(node, None, wire.NodeSignal(node.node, "ann", None, None, None, payload))

    def excuse(self) -> None:
        """What was said until now may have been lost."""
        self.said = [False] * len(self.said)
        for visitor in self.away:
            visitor.broken = True

    @rule(at=NODES)
    def connect(self, at: int) -> None:
        node = self.nodes[at]
        if not node.hosts:
            node.feed.join(self.seq)
        node.come(Visitor(len(self.said)))

    @rule(at=NODES, fate=FATES)
    def lose_a_visitor(self, at: int, fate: str) -> None:
        """A client is gone."""
        node = self.nodes[at]
        if node.visitors:
            self.away.append(node.visitors[0])
            node.lose(node.visitors[0], noticed=fate == "lost")

    @rule(at=NODES, fate=FATES, to=NODES, by=NODES, quietly=st.booleans())
    def roam(self, at: int, fate: str, to: int, by: int, quietly: bool) -> None:
        """One goes to another node while something is on its way from somewhere."""
        if not self.nodes[at].visitors:
            self.connect(at)
        self.commit(by, dies=False)
        self.commit_is_told(by)
        self.signal(at)
        self.lose_a_visitor(at, fate)
        self.come_back(to)
        if quietly:
            self.settle()

    @rule()
    def settle(self) -> None:
        """Everybody hears what was said."""
        while any(node.words for node in self.nodes):
            for at in range(3):
                self.hear_words(at, 1)
                self.answer(at)

    @rule(at=NODES, busy=st.booleans())
    def have_time(self, at: int, busy: bool) -> None:
        """A node has too much to do, or not any more."""
        self.nodes[at].pace.busy = busy

    @rule(at=NODES, many=st.integers(1, 3))
    def go_on(self, at: int, many: int) -> None:
        """What has to wait is done, a piece of it at least."""
        waiting = self.nodes[at].pace.waiting
        for _ in range(min(many, len(waiting))):
            waiting.popleft().go_on()

    @rule(at=NODES)
    def come_back(self, at: int) -> None:
        """It is there again, somewhere."""
        node = self.nodes[at]
        waiting = [visitor for visitor in self.away if not visitor.comes]
        if waiting:
            if not node.hosts:
                node.feed.join(self.seq)
            node.come(waiting[0])
            self.clock.advance(0)

    @rule(at=NODES)
    def lose_the_bus(self, at: int) -> None:
        super().lose_the_bus(at)
        self.excuse()
        node = self.nodes[at]
        node.words = []
        node.claims.lost()
        for one in self.nodes:
            one.recovery.replay.break_off()

    @rule(at=NODES)
    def die(self, at: int) -> None:
        dead = self.nodes[at]
        for visitor in dead.visitors:
            visitor.listen()
            visitor.client = None
        self.away += dead.visitors
        self.excuse()
        former = dead.node
        dead.feed.end()
        dead.claims.lost()
        dead.recovery.stop()
        super().die(at)
        for node in self.nodes:
            node.claims.died(former)
            node.recovery.replay.break_off()

    @invariant()
    def every_client_hears_every_number(self) -> None:
        for fault in getattr(self, "faults", ()):
            fault.raiseException()
        for node in getattr(self, "nodes", ()):
            for visitor in node.visitors:
                visitor.listen()
                first = visitor.since
                assert first <= visitor.joined_at
                expected = list(range(first + 1, first + 1 + len(visitor.numbers)))
                assert visitor.numbers == expected, (first, visitor.numbers)
                if self.log_bytes == ACCOUNT_BYTES:
                    assert len(set(visitor.signals)) == len(visitor.signals), visitor.signals

    def at_the_end(self) -> None:
        for at, node in enumerate(self.nodes):
            node.pace.busy = False
            self.go_on(at, len(node.pace.waiting))
        self.settle()
        self.clock.advance(1)
        self.every_client_hears_every_number()
        for node in self.nodes:
            for visitor in node.visitors:
                assert visitor.since + len(visitor.numbers) == self.seq
                due = [n for n, sure in enumerate(self.said) if sure and n >= visitor.first_signal]
                assert set(due) <= set(visitor.signals), (due, visitor.signals)
            node.recovery.stop()
            node.claims.calls.stop()


class Forgetful(Recovering):
    """The same with logs that hold a few events, so that it is soon unknown which signals somebody heard."""

    log_bytes = 6 * OVERHEAD


class HastyNode(RecoveringNode):
    """A node that says what it has at once."""

    def begin(self) -> None:
        super().begin()

        async def reach(feed: Feed, number: int) -> int | None:
            return feed.next

        self.claims._reach = reach  # type: ignore[method-assign]


class Hasty(Recovering):
    """The same without waiting."""

    node_class = HastyNode


class TestRecovering(SynchronousTestCase):
    """What clients hear that come back at another node."""

    def test_nothing_is_lost_or_repeated(self) -> None:
        """Whatever happens."""
        explore(Recovering)

    def test_nothing_is_lost_that_is_forgotten(self) -> None:
        """Nor while what was told goes from the logs."""
        explore(Forgetful)

    def test_the_model_can_fail(self) -> None:
        """Without waiting for each other, nodes tell too much or too little."""
        with self.assertRaises(AssertionError):
            find_fault(Hasty)
