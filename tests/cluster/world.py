"""A world of several nodes with feeds, and what its clients are promised, whatever happens in it.

The database is a number and the rows of the log; the bus delays, loses and mixes what different nodes said;
nodes die between commit and saying so. Queries take their time: they answer what was true when they were
asked.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.internet.task import Clock

from happy.cluster.feed import GAP_SECONDS, Feed, Told
from happy.realtime.updates import Audience

NODES = st.integers(0, 2)
ROWS_AT_A_TIME = 3


def told(seq: int) -> Told:
    return Told(seq, Audience("ann"), b"")


class Query(NamedTuple):
    """An answer of the database on its way."""

    since: int
    found: list[Told]
    covered: int
    latest: int

    known: tuple[int, ...]


class Node:
    """One node: its feed, and what each of its clients heard, after the number at which it joined."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.up = True
        self.begin()

    def begin(self) -> None:
        """It has just started."""
        self.feed = Feed("ann", self, self.world.clock)
        self.inbox: dict[Node, list[int]] = {}
        self.untold: list[int] = []
        self.query: Query | None = None
        self.again = False
        self.clients: list[list[int]] = []

    @property
    def hosts(self) -> bool:
        return self.feed.next is not None

    def tell(self, told: Told) -> None:
        for client in self.clients:
            client.append(told.seq)

    def arrived(self) -> None:
        assert not self.feed.waiting

    def cut(self, account: str) -> None:
        self.clients = []

    def ask(self, feed: Feed) -> None:
        assert self.world.failed_over or not feed._twice
        if self.query is not None:
            self.again = True
            return
        assert feed.next is not None
        seq, log = self.world.seq, self.world.log
        found = [told(number) for number in sorted(log) if number >= feed.next][:ROWS_AT_A_TIME]
        covered = found[-1].seq if len(found) == ROWS_AT_A_TIME else seq
        self.query = Query(feed.next, found, covered, seq, tuple(feed.waiting))

    def answer(self) -> None:
        """The database answers."""
        query, self.query = self.query, None
        again, self.again = self.again, False
        if query is not None and (self.feed.filled(*query) or again):
            self.ask(self.feed)


class World(RuleBasedStateMachine):
    """Three nodes, a database and a bus."""

    catches_up = True
    node_class = Node

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.seq, self.log, self.failed_over = 0, set[int](), False
        self.begin_world()
        self.nodes = [self.node_class(self) for _ in range(3)]

    def begin_world(self) -> None:
        """Before there are nodes."""

    @rule(at=NODES)
    def connect(self, at: int) -> None:
        """A client comes; the first one lets its node subscribe, then read the number."""
        node = self.nodes[at]
        if not node.hosts:
            node.feed.join(self.seq)
        assert node.feed.next is not None
        node.clients.append([node.feed.next - 1])

    @rule(at=NODES, dies=st.sampled_from([False] * 9 + [True]))
    def commit(self, at: int, dies: bool) -> None:
        """A node takes a number; it may die before it tells anybody."""
        self.seq += 1
        self.log.add(self.seq)
        if dies:
            self.die(at)
        else:
            self.nodes[at].untold.append(self.seq)

    @rule(at=NODES)
    def commit_is_told(self, at: int) -> None:
        """A node hears of its commits, tells its clients, and then the others."""
        node, untold = self.nodes[at], self.nodes[at].untold
        node.untold = []
        for seq in untold:
            node.feed.offer(told(seq), local=True)
            for other in self.nodes:
                if other is not node and node.up and other.up:
                    other.inbox.setdefault(node, []).append(seq)

    @rule(at=NODES, of=NODES)
    def hear(self, at: int, of: int) -> None:
        """The bus delivers something: of one node in order, of different ones as it likes."""
        node = self.nodes[at]
        if node.up and (waiting := node.inbox.get(self.nodes[of])):
            node.feed.offer(told(waiting.pop(0)))

    @rule(at=NODES)
    def lose_the_bus(self, at: int) -> None:
        """What was on its way to a node is gone, and what it says from now on as well."""
        self.nodes[at].up = False
        self.nodes[at].inbox = {}

    @rule(at=NODES)
    def find_the_bus(self, at: int) -> None:
        """It is back: whatever was missed is looked for, here and, of our own, elsewhere."""
        if not self.nodes[at].up:
            self.nodes[at].up = True
            self.catch_up(*self.nodes)

    @rule(at=NODES)
    def die(self, at: int) -> None:
        """A node dies; the others find out, and another one begins in its place."""
        node = self.nodes[at]
        node.feed.end()
        node.begin()
        for other in self.nodes:
            other.inbox.pop(node, None)
        self.catch_up(*self.nodes)

    def catch_up(self, *nodes: Node) -> None:
        """Compare numbers with the database's."""
        for node in nodes:
            if self.catches_up and node.hosts and node.feed.next != self.seq + 1:
                node.ask(node.feed)

    @rule(at=NODES)
    def answer(self, at: int) -> None:
        """A query is answered."""
        self.nodes[at].answer()

    @rule()
    def time_passes(self) -> None:
        """Numbers were missing for too long. While the bus is away, the database is looked at."""
        self.clock.advance(GAP_SECONDS)
        self.catch_up(*[node for node in self.nodes if not node.up])

    @rule()
    def trim(self) -> None:
        """Old rows go; somebody may still have needed them."""
        self.log.discard(min(self.log, default=0))

    @rule(back=st.integers(1, 3))
    def fail_over(self, back: int) -> None:
        """Another database takes over, without the latest commits; all lose their connections, and look."""
        untold = any(node.untold or any(node.inbox.values()) for node in self.nodes)
        waits = any(node.query is not None or node.feed.waiting for node in self.nodes)
        if not untold and not waits:  # what never was may be told otherwise, as with one node
            self.failed_over = True
            self.seq = max(0, self.seq - back)
            self.log = {seq for seq in self.log if seq <= self.seq}
            self.catch_up(*self.nodes)
            for node in self.nodes:
                node.answer()

    @invariant()
    def every_client_hears_every_number(self) -> None:
        """From where it joined on, in order (F1), and only what was committed (F3)."""
        for node in getattr(self, "nodes", ()):
            for client in node.clients:
                assert client == list(range(client[0], client[0] + len(client))), client
                assert client[-1] <= self.seq

    def teardown(self) -> None:
        """When all is quiet, nobody is behind (F2)."""
        if not hasattr(self, "nodes"):
            return
        for at in range(3):
            self.find_the_bus(at)
            self.commit_is_told(at)
        for _ in range(3 * (self.seq + 3)):
            for at in range(3):
                self.answer(at)
                for of in range(3):
                    self.hear(at, of)
            self.clock.advance(GAP_SECONDS)
        self.at_the_end()
        for node in self.nodes:
            node.feed.end()
        assert not self.clock.getDelayedCalls()

    def at_the_end(self) -> None:
        """All is quiet."""
        self.every_client_hears_every_number()
        for node in self.nodes:
            assert all(client[-1] == self.seq for client in node.clients)


def explore(world: type[World]) -> None:
    """Let anything happen in such worlds. Raises AssertionError for what may not be."""
    run_state_machine_as_test(world, settings=settings(settings.default, stateful_step_count=40))  # type: ignore[no-untyped-call]


def find_fault(world: type[World]) -> None:
    """The same for worlds in which something is wrong: it is found in any case."""
    found = settings(
        settings.default,
        stateful_step_count=40,
        max_examples=300,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
    )
    run_state_machine_as_test(world, settings=found)  # type: ignore[no-untyped-call]
