"""How often a live node is taken for dead in a storm of clients: ``python -m tests.cluster.storm``.

Nodes on one PostgreSQL, with Redis between them or not (``--bus postgres``). ``happyctl bench`` connects and
logs in ``--sockets`` clients of as many accounts, all at once, and leaves at once, ``--rounds`` times. No
node dies meanwhile: each that is taken for dead is a mistake, and the exit status 1. ``--json`` writes the
figures into a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.cluster.redis_server import ANY, RedisServer
from tests.cluster.ring.faults import NodeProcess
from tests.cluster.ring.figures import looks, samples
from tests.cluster.ring.script import play, started
from tests.harness import cluster

HAPPYCTL = str(Path(sys.executable).with_name("happyctl"))


def storm(urls: Sequence[str], sockets: int) -> dict[str, Any]:
    """One storm: everybody at once. What the tool reports."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [HAPPYCTL, "bench", ",".join(urls), "connect", "--json", report.name]
        command += ["--sockets", str(sockets), "--senders", str(sockets), "--addresses", "8"]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(Path(report.name).read_text())
    return found


async def figures(port: int) -> dict[str, Any]:
    """What a node tells of itself: beats, looks at the database, and turns of its reactor."""
    found = await samples(port)
    beats = _buckets(found, "happy_bus_seconds_bucket")
    stalls = _buckets(found, "happy_reactor_stall_seconds_bucket")
    return {
        "own beats heard": max(beats.values(), default=0),
        "slowest own beat, up to": _least(beats),
        "longest turn, up to": _least(stalls),
        "looks": await looks(port),
    }


def _buckets(samples: Sequence[Any], name: str) -> dict[float, float]:
    return {float(one.labels["le"]): one.value for one in samples if one.name == name}


def _least(buckets: dict[float, float]) -> str:
    """The smallest bound that everything is within."""
    return str(min((bound for bound, count in buckets.items() if count == max(buckets.values())), default=0))


async def run(nodes: int, sockets: int, rounds: int, bus: str) -> dict[str, Any]:
    """All storms; what is to be reported of them."""
    assert ANY is not None, "there is no Redis"
    dsn, redis = cluster().create(), RedisServer(ANY)
    settings = {"HAPPY_BUS": bus, "REDIS_URL": redis.url, "HAPPY_ADDRESS_LIMIT": "0"}
    names = [f"n{number}" for number in range(nodes)]
    async with started(reactor, names, dsn, redis, settings) as processes:
        told = await _measure(processes, sockets, rounds)
    redis.stop()
    return {"nodes": nodes, "bus": bus, "sockets": sockets, **told}


async def _measure(processes: Sequence[NodeProcess], sockets: int, rounds: int) -> dict[str, Any]:
    storms = []
    for _ in range(rounds):
        urls = [process.served.url for process in processes]
        storms.append(_of(await deferToThread(storm, urls, sockets)))
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {storms[-1]}\n")
    told = [await figures(process.metrics_port) for process in processes]
    dead, deaf, away = (sum(one["looks"].get(why, 0) for one in told) for why in ("dead", "deaf", "away"))
    return {
        "storms": storms,
        "taken for dead": dead,
        "found itself deaf": deaf,
        "lost the bus": away,
        "each node": told,
    }


def _of(report: dict[str, Any]) -> dict[str, Any]:
    """What matters of the tool's report."""
    return {key: report[key] for key in ("figures", "errors", "latency") if key in report}


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.storm", description=__doc__)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bus", choices=("redis", "postgres"), default="redis")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    running = run(options.nodes, options.sockets, options.rounds, options.bus)
    play(running, options.json, lambda report: report["taken for dead"])


if __name__ == "__main__":
    main()
