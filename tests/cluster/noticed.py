"""What clients notice of each fault, and for how long: ``python -m tests.cluster.noticed``.

Three nodes, and an account with clients at each: one writes at the first and calls, one watches at each, and
a method is offered at the second, or, when that is gone, at the third. A second account writes at the second
node as fast as it goes, and is watched at the third. Then one thing after the other goes wrong. ``--json``
writes the table into a file; the exit status is 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.cluster.redis_server import ANY, RedisServer
from tests.cluster.ring.database import RingDatabase
from tests.cluster.ring.faults import NodeProcess
from tests.cluster.ring.probes import Caller, Probes, Watched, Writer
from tests.cluster.ring.script import play, started

QUIET = 3.0
"""Seconds before a fault, and after what it did is over."""


class Faults:
    """Nodes, Redis and PostgreSQL, and what may happen to them; each ends when all is there again."""

    def __init__(self, nodes: list[NodeProcess], redis: RedisServer, database: RingDatabase) -> None:
        self._nodes = nodes
        self._redis = redis
        self._database = database
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "nothing": partial(pause, 5.0),
            "the second node is killed": partial(self._end, signal.SIGKILL),
            "the second node is stopped in order": partial(self._end, signal.SIGTERM),
            "the second node stands still for 8 s": self._stand_still,
            "Redis is killed, and back after 5 s": self._kill_redis,
            "Redis stands still for 5 s": self._freeze_redis,
            "the second node is cut off from Redis for 5 s": self._cut_off,
            "the second node's connections to Redis freeze for 5 s": self._freeze_way,
            "PostgreSQL ends all sessions": self._end_sessions,
            "PostgreSQL is restarted": partial(self._restart, signal.SIGINT),
            "PostgreSQL crashes": partial(self._restart, signal.SIGQUIT),
        }

    async def _end(self, number: signal.Signals) -> None:
        node = self._nodes[1]
        node.served.kill(number)
        await node.served.exited()
        await pause(7)
        await node.restart()

    async def _stand_still(self) -> None:
        node = self._nodes[1]
        node.served.kill(signal.SIGSTOP)
        await pause(8)
        node.served.kill(signal.SIGCONT)

    async def _kill_redis(self) -> None:
        self._redis.kill()
        await pause(5)
        self._redis.start()

    async def _freeze_redis(self) -> None:
        self._redis.send(signal.SIGSTOP)
        await pause(5)
        self._redis.send(signal.SIGCONT)

    async def _cut_off(self) -> None:
        self._nodes[1].way.close()
        await pause(5)
        self._nodes[1].way.heal()

    async def _freeze_way(self) -> None:
        self._nodes[1].way.freeze()
        await pause(5)
        self._nodes[1].way.heal()

    async def _end_sessions(self) -> None:
        self._database.end_sessions()

    async def _restart(self, number: signal.Signals) -> None:
        await self._database.restart(number)


async def run() -> dict[str, Any]:
    """All faults, one after the other; what was noticed of each."""
    assert ANY is not None, "there is no Redis"
    database, redis = RingDatabase(), RedisServer(ANY)
    async with started(reactor, ("n1", "n2", "n3"), database.dsn, redis) as nodes:
        probes = Probes(reactor, [node.served.url for node in nodes])
        await probes.begin()
        faults = Faults(nodes, redis, database)
        table = {}
        for name, happen in faults.kinds.items():
            probes.offering.go_home()
            await pause(QUIET)
            began = time.monotonic()
            await happen()
            ended = time.monotonic()
            await pause(QUIET)
            table[name] = told(probes, began, ended)
            sys.stderr.write(f"{name}: {json.dumps(table[name])}\n")
        lost = await probes.finish()
    redis.stop()
    return {"faults": table, "messages": len(probes.writer.sent) + len(probes.busy.sent), "wrong": lost}


def told(probes: Probes, began: float, ended: float) -> dict[str, Any]:
    """What clients noticed from the beginning of a fault on: seconds, rounded to milliseconds."""
    row = {
        "slowest answer": _worst(probes.writer, began),
        "slowest at its own node": _heard(probes.writer, probes.here, began),
        "slowest at the second": _heard(probes.writer, probes.there, began),
        "slowest at the third": _heard(probes.writer, probes.third, began),
        "late after the end, for": max(
            _late(probes.writer, one, ended) for one in (probes.there, probes.third)
        ),
        "last of the second node, heard after": _last(probes.busy, probes.far, began),
        "calls": _calls(probes.caller, began),
        "sockets lost": probes.lost_since(began),
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def _worst(writer: Writer, began: float) -> float:
    """The longest that a client waited for the answer to a message, repetitions included."""
    times = [at - writer.sent[name] for name, at in writer.answered.items() if at >= began]
    return max(times, default=0.0)


def _heard(writer: Writer, watched: Watched, began: float) -> float:
    """The longest from sending a message first until it was heard."""
    times = [at - writer.sent[name] for name, at in watched.heard.items() if at >= began]
    return max(times, default=0.0)


def _late(writer: Writer, watched: Watched, ended: float) -> float:
    """For how long after the end of a fault messages were heard more than 0.1 s late."""
    late = [at - ended for name, at in watched.heard.items() if at > ended and at - writer.sent[name] > 0.1]
    return max(late, default=0.0)


def _last(writer: Writer, watched: Watched, began: float) -> float:
    """When, after the beginning of a fault, the last message was heard that was sent before it."""
    late = [at - began for name, at in watched.heard.items() if at > began and writer.sent[name] < began]
    return max(late, default=0.0)


def _calls(caller: Caller, began: float) -> dict[str, Any]:
    """Calls that ended since: how many, how many failed and why, and the longest of each kind in seconds."""
    since = [call for call in caller.calls if call.ended >= began]
    failed = [call for call in since if call.failed is not None]
    fine = [call for call in since if call.failed is None]
    return {
        "ok": len(fine),
        "failed": len(failed),
        "why": sorted({str(call.failed) for call in failed}),
        "slowest ok": round(max((call.ended - call.began for call in fine), default=0.0), 3),
        "slowest failure": round(max((call.ended - call.began for call in failed), default=0.0), 3),
    }


def pause(seconds: float) -> Deferred[None]:
    """Wait."""
    return deferLater(reactor, seconds)  # type: ignore[arg-type]


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.noticed", description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    play(run(), options.json, lambda report: any(report["wrong"].values()))


if __name__ == "__main__":
    main()
