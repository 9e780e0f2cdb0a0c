"""Three nodes in this process: real hubs, committers and calls on one PostgreSQL and a bus in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from happy.api.rate_limits import Windows
from happy.base.ids import new_cuid
from happy.cluster.cluster import Cluster
from happy.metrics import Metrics
from happy.realtime.calls import Calls
from happy.realtime.client import Client
from happy.realtime.committer import Committer
from happy.realtime.hub import Hub
from happy.realtime.presence import Presence
from happy.realtime.recovery import Recovery
from happy.realtime.updates import DeleteMachine, Scope, devices_of
from happy.storage.database import Database
from happy.storage.messages import IncomingMessage
from happy.storage.types import Millis
from tests.cluster.memory_bus import MemoryBus, MemoryEngine
from tests.harness import DatabaseCase
from tests.realtime.clients import connect, events

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES (%s, %s, %s, '', %s)
"""


class Node:
    """One of them."""

    def __init__(self, reactor: Any, engine: MemoryEngine, dsn: str, name: str) -> None:
        self.metrics = metrics = Metrics(CollectorRegistry())
        self.bus = MemoryBus(engine)
        self.recovery = Recovery(reactor)
        self.hub = Hub(metrics, self.recovery)
        self.cluster = Cluster(self.bus, self.hub, reactor, metrics, name=name, now=time.time)
        everywhere = self.cluster.everywhere
        self.database = Database(dsn, size=2, clock=reactor, publisher=everywhere, noting=everywhere.note)
        self.calls = Calls(reactor, metrics, now=time.time)
        self.presence = Presence(reactor, self.database, everywhere, metrics)
        self.presence.tell_stop = self.cluster.rosters.tell_stop
        self.committer = Committer(reactor, self.database, everywhere, metrics)
        self.uses = Windows(3, 60, reactor.seconds)
        self.everywhere = everywhere
        self.alive = True

    async def start(self) -> None:
        await self.database.start()
        await self.cluster.start(self.database, self.calls, self.presence, {"uses": self.uses})

    async def stop(self) -> None:
        """Leave as a server does."""
        if self.alive:
            self.alive = False
            await self.committer.stop()
            self.calls.stop()
            await self.cluster.stop()
            self.recovery.stop()
            await self.database.stop()

    async def die(self) -> None:
        """Say nothing any more."""
        await self.bus.stop()
        self.bus.stop = lambda: succeed(None)  # type: ignore[method-assign]
        await self.stop()

    async def client(
        self, account: str, scope: Scope = Scope.USER, subject: str = "", **facts: Any
    ) -> Client:
        """A client that connects here."""
        hosting = self.cluster.host(account)
        if hosting is not None:
            await hosting
        client = connect(account, scope, subject, **facts)
        self.recovery.enter(client)
        self.hub.add(client)
        return client

    def leave(self, client: Client, reason: str = "client namespace disconnect") -> None:
        """A client goes."""
        for answered in client.socket.gone():
            answered(None)
        self.hub.remove(client)
        self.recovery.leave(client, reason)
        self.calls.forget(client)

    async def change(self, account: str, machine: str = "m") -> None:
        """Publish something small."""

        async def work(tx: Any) -> None:
            tx.publish(devices_of(account), DeleteMachine(machine_id=machine))

        await self.database.transact(work, accounts=[account])

    def send(self, account: str, session: str, text: str, skip: object | None = None) -> Deferred[Any]:
        """Append a message."""
        return self.committer.append(account, session, [IncomingMessage(None, text)], skip)


class SeveralCase(DatabaseCase):
    """Three nodes, ``self.nodes``, an account and a session of it."""

    async def setUp(self) -> None:
        from twisted.internet import reactor

        await super().setUp()
        self.reactor = reactor
        self.engine = MemoryEngine(reactor)  # type: ignore[arg-type]
        self.nodes = [Node(reactor, self.engine, self.dsn, name) for name in "abc"]
        for node in self.nodes:
            await node.start()
            self.addCleanup(node.stop)
        self.account = await self.new_account()
        self.session = await self.new_session(self.account)

    async def new_session(self, account: str) -> str:
        """The id of a session of an account."""
        session = new_cuid()
        await self.database.transact(
            lambda tx: tx.run(NEW_SESSION, (session, account, "tag", Millis(tx.now)))
        )
        return session

    def named(self) -> list[tuple[Node, str]]:
        """The nodes, each with its name."""
        return list(zip(self.nodes, "abc", strict=True))

    async def until(self, true: Callable[[], object], seconds: float = 8.0) -> None:
        """Wait for something that nobody tells."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, "it did not come true"
            await deferLater(self.reactor, 0.005)  # type: ignore[arg-type]

    async def reconnected(self) -> None:
        """The bus is there again, and every node knows."""
        self.engine.come_back()
        await self.until(lambda: all(node.bus.up for node in self.nodes))

    async def acquainted(self) -> None:
        """All nodes that host the account know what the others have of it."""
        await self.until(self.all_known)

    def all_known(self) -> bool:
        """Whether they do."""
        account = self.account
        hosts = [node for node in self.nodes if node.alive and node.cluster.hosting.get(account)]
        for node in hosts:
            hosted = node.cluster.hosting.get(account)
            assert hosted is not None
            truth = {
                other.cluster.node: (
                    other.hub.has_users(account),
                    other.hub.viewing(account),
                    set(other.hub.machines(account)),
                )
                for other in hosts
                if other is not node
            }
            told = {
                name: (peer.users, peer.viewing, peer.machines) for name, peer in hosted.roster.peers.items()
            }
            if told != truth:
                return False
        return True


def seqs(client: Client) -> list[int]:
    """The numbers of the updates that a client heard."""
    return [argument["seq"] for name, argument in events(client) if name == "update"]


def signals(client: Client) -> list[Any]:
    """The signals that it heard."""
    return [argument for name, argument in events(client) if name == "ephemeral"]
