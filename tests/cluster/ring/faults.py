"""What goes wrong in a ring, one after the other, each with a proof that it did."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.postgres.process import Program
from tests.cluster.redis_server import RedisServer
from tests.cluster.ring.database import RingDatabase
from tests.cluster.ring.figures import is_up, looks
from tests.cluster.ring.way import Way
from tests.live.serving import TWISTD, Served, free_port

STARTS = 3
"""How often it is tried to start a node: on a busy machine Redis may not answer in time."""

SEEN_SECONDS = 15.0
"""How much longer a fault lasts at most, until every node that it concerns has counted it."""

WELL_SECONDS = 60.0
"""How long nodes may take after a fault until the bus of each is up."""


class NodeProcess:
    """A node, its way to Redis, and its folder."""

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        name: str,
        dsn: str,
        redis: RedisServer | None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """``settings`` are variables of its environment, beside or instead of the usual."""
        self.name = name
        self.way = Way(reactor, 0 if redis is None else redis.port)
        self.metrics_port = free_port()
        self._folder = folder
        self._environment = {
            "DATABASE_URL": dsn,
            "DATA_DIR": str(folder / "data"),
            "HANDY_MASTER_SECRET": "of the ring and of nothing else",
            "HAPPY_DATABASE_POOL": "4",
            "METRICS_ENABLED": "true",
            "METRICS_PORT": str(self.metrics_port),
            "HAPPY_NODE": name,
            "REDIS_URL": f"redis://127.0.0.1:{self.way.port}",
            **(settings or {}),
        }
        self.served: Served
        self.failed_starts = 0
        self.log = b""

    async def start(self) -> None:
        """Run it, on the port that it had before."""
        port = self.served.port if hasattr(self, "served") else None
        runner = Program([TWISTD], None, (), signal.SIGKILL).wrapped()
        self.served = Served(self._folder, environment=self._environment, runner=runner, port=port)
        await self.served.start()

    async def restart(self) -> None:
        """Run it again, after it has ended; once more if it does not start, as a service manager does."""
        for attempts_left in reversed(range(STARTS)):
            await self.served.exited()
            self.log += self.served.log
            try:
                return await self.start()
            except RuntimeError:
                if not attempts_left:
                    raise
                self.failed_starts += 1

    @property
    def state(self) -> str:
        """What the system says of the process: ``T`` is stopped."""
        pid = self.served.transport.pid
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else "gone"
        except FileNotFoundError:
            return "gone"

    async def losses(self) -> float:
        """How often it has noticed that its bus was away, since it was started."""
        return (await looks(self.metrics_port)).get("away", 0.0)


class Nemesis:
    """Faults, chosen by a seeded generator. ``proven`` counts those that were seen to have taken effect."""

    def __init__(
        self,
        reactor: Any,
        nodes: list[NodeProcess],
        redis: RedisServer,
        database: RingDatabase,
        rng: random.Random,
    ) -> None:
        self._reactor = reactor
        self._nodes = nodes
        self._redis = redis
        self._database = database
        self._rng = rng
        self.done: Counter[str] = Counter()
        self.proven: Counter[str] = Counter()
        self._of_nodes = {
            "a node is killed": self._kill,
            "a node stands still for 2 s": partial(self._stand_still, 2.0),
            "a node stands still for 8 s": partial(self._stand_still, 8.0),
            "a node is stopped in order": self._stop_node,
            "PostgreSQL ends all sessions": self._end_sessions,
            "PostgreSQL is restarted": partial(database.restart, signal.SIGINT),
            "PostgreSQL crashes": partial(database.restart, signal.SIGQUIT),
        }
        self._of_redis = {
            "Redis is killed": self._kill_redis,
            "Redis stands still for 5 s": self._freeze_redis,
            "a node's connections to Redis break": self._cut,
            "a node is without Redis for 4 s": self._close,
            "a node's connections to Redis freeze for 5 s": self._freeze,
        }
        self._of_postgres = {
            "a session that listens ends": self._end_listening,
            "a session that listens stands still for 5 s": self._freeze_listening,
        }

    def kinds(self, bus: str) -> dict[str, Callable[[], Awaitable[bool]]]:
        """What may go wrong on a bus by this name."""
        return self._of_nodes | (self._of_redis if bus == "redis" else self._of_postgres)

    async def one(self, bus: str) -> str:
        """Let something go wrong with nodes that are well, and be well again; what it was."""
        kinds = self.kinds(bus)
        kind = self._rng.choice(list(kinds))
        self.done[kind] += 1
        self.proven[kind] += await kinds[kind]()
        await self._well()
        return kind

    async def _well(self) -> None:
        """Wait until every node's bus is up. Raises AssertionError if that takes too long."""
        deadline = self._reactor.seconds() + WELL_SECONDS
        for node in self._nodes:
            while not await is_up(node.metrics_port):
                assert self._reactor.seconds() < deadline, f"{node.name} has no bus any more"
                await self._wait(0.1)

    def _wait(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)

    def _any(self) -> NodeProcess:
        return self._rng.choice(self._nodes)

    async def _kill(self) -> bool:
        node = self._any()
        node.served.kill(signal.SIGKILL)
        killed = await node.served.exited() == -signal.SIGKILL
        await self._wait(1)
        await node.restart()
        return killed

    async def _stop_node(self) -> bool:
        node = self._any()
        node.served.kill(signal.SIGTERM)
        ended = await node.served.exited() == 0
        await node.restart()
        return ended

    async def _stand_still(self, seconds: float) -> bool:
        node = self._any()
        node.served.kill(signal.SIGSTOP)
        await self._wait(seconds)
        stood = node.state == "T"
        node.served.kill(signal.SIGCONT)
        return stood

    async def _lasting(
        self,
        seconds: float,
        nodes: Iterable[NodeProcess],
        act: Callable[[], None],
        enough: Callable[[Iterable[bool]], bool] = all,
    ) -> bool:
        """Do something that takes the bus from some nodes, for so long and until enough of them counted it.

        Whether they have.
        """
        before = {node: await node.losses() for node in nodes}
        act()
        ends = self._reactor.seconds() + seconds
        await self._wait(seconds)
        while not enough([await node.losses() > losses for node, losses in before.items()]):
            if self._reactor.seconds() > ends + SEEN_SECONDS:
                return False
            await self._wait(0.1)
        return True

    async def _kill_redis(self) -> bool:
        noticed = await self._lasting(3, self._nodes, self._redis.kill)
        self._redis.start()
        return noticed

    async def _freeze_redis(self) -> bool:
        noticed = await self._lasting(5, self._nodes, partial(self._redis.send, signal.SIGSTOP))
        self._redis.send(signal.SIGCONT)
        return noticed

    async def _cut(self) -> bool:
        node = self._any()
        return await self._lasting(1, [node], node.way.cut)

    async def _close(self) -> bool:
        node = self._any()
        noticed = await self._lasting(4, [node], node.way.close)
        node.way.heal()
        return noticed

    async def _freeze(self) -> bool:
        node = self._any()
        noticed = await self._lasting(5, [node], node.way.freeze)
        node.way.heal()
        return noticed

    async def _end_sessions(self) -> bool:
        return self._database.end_sessions() > 0

    async def _end_listening(self) -> bool:
        pid = self._rng.choice(self._database.listening())
        return await self._lasting(1, self._nodes, partial(os.kill, pid, signal.SIGTERM), any)

    async def _freeze_listening(self) -> bool:
        pid = self._rng.choice(self._database.listening())
        noticed = await self._lasting(5, self._nodes, partial(os.kill, pid, signal.SIGSTOP), any)
        os.kill(pid, signal.SIGCONT)
        return noticed
