"""What goes wrong in a ring, one after the other, each with a proof that it did."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.postgres.process import Program
from tests.cluster.redis_server import RedisServer
from tests.cluster.ring.way import Way
from tests.live.serving import TWISTD, Served


class NodeProcess:
    """A node, its way to Redis, and its folder."""

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        name: str,
        dsn: str,
        redis: RedisServer,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """``settings`` are variables of its environment, beside or instead of the usual."""
        self.name = name
        self.way = Way(reactor, redis.port)
        self._folder = folder
        self._environment = {
            "DATABASE_URL": dsn,
            "HANDY_MASTER_SECRET": "of the ring and of nothing else",
            "HAPPY_DATABASE_POOL": "4",
            "METRICS_ENABLED": "false",
            "HAPPY_NODE": name,
            "REDIS_URL": f"redis://127.0.0.1:{self.way.port}",
            **(settings or {}),
        }
        self.served: Served
        self.log = b""

    async def start(self) -> None:
        """Run it, on the port that it had before."""
        port = self.served.port if hasattr(self, "served") else None
        runner = Program([TWISTD], None, (), signal.SIGKILL).wrapped()
        self.served = Served(self._folder, environment=self._environment, runner=runner, port=port)
        await self.served.start()

    async def restart(self) -> None:
        """Run it again, after it has ended."""
        await self.served.exited()
        self.log += self.served.log
        await self.start()

    @property
    def state(self) -> str:
        """What the system says of the process: ``T`` is stopped."""
        pid = self.served.transport.pid
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else "gone"
        except FileNotFoundError:
            return "gone"

    def said(self, text: bytes) -> int:
        """How often it logged something."""
        return (self.log + self.served.log).count(text)


class Nemesis:
    """Faults, chosen by a seeded generator. ``proven`` counts those that were seen to have taken effect."""

    def __init__(
        self, reactor: Any, nodes: list[NodeProcess], redis: RedisServer, rng: random.Random
    ) -> None:
        self._reactor = reactor
        self._nodes = nodes
        self._redis = redis
        self._rng = rng
        self.done: Counter[str] = Counter()
        self.proven: Counter[str] = Counter()
        self.kinds = {
            "a node is killed": self._kill,
            "a node stands still for 2 s": partial(self._stand_still, 2.0),
            "a node stands still for 8 s": partial(self._stand_still, 8.0),
            "a node is stopped in order": self._stop_node,
            "Redis is killed": self._kill_redis,
            "Redis stands still for 5 s": self._freeze_redis,
            "a node's connections to Redis break": self._cut,
            "a node is without Redis for 4 s": self._close,
            "a node's connections to Redis freeze for 5 s": self._freeze,
            "PostgreSQL ends all sessions": self._end_sessions,
        }
        self.end_sessions: Callable[[], int] = lambda: 0

    async def one(self, kind: str | None = None) -> str:
        """Let something go wrong, and be well again."""
        kind = kind or self._rng.choice(list(self.kinds))
        self.done[kind] += 1
        self.proven[kind] += bool(await self.kinds[kind]())
        return kind

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

    async def _kill_redis(self) -> bool:
        before = [node.said(AWAY) for node in self._nodes]
        self._redis.kill()
        await self._wait(3)
        noticed = all(node.said(AWAY) > count for node, count in zip(self._nodes, before, strict=True))
        self._redis.start()
        return noticed

    async def _freeze_redis(self) -> bool:
        before = [node.said(AWAY) for node in self._nodes]
        self._redis.send(signal.SIGSTOP)
        await self._wait(5)
        self._redis.send(signal.SIGCONT)
        await self._wait(1)
        return all(node.said(AWAY) > count for node, count in zip(self._nodes, before, strict=True))

    async def _noticed(self, node: NodeProcess, seconds: float) -> bool:
        before = node.said(AWAY)
        await self._wait(seconds)
        return node.said(AWAY) > before

    async def _cut(self) -> bool:
        node = self._any()
        node.way.cut()
        return await self._noticed(node, 1)

    async def _close(self) -> bool:
        node = self._any()
        node.way.close()
        noticed = await self._noticed(node, 4)
        node.way.heal()
        return noticed

    async def _freeze(self) -> bool:
        node = self._any()
        node.way.freeze()
        noticed = await self._noticed(node, 5)
        node.way.heal()
        return noticed

    async def _end_sessions(self) -> bool:
        return self.end_sessions() > 0


AWAY = b"the bus is away"
"""What a node logs that has lost Redis."""
