"""Three nodes under load, with everything that can go wrong: ``python -m tests.cluster --seconds 600``.

Prints what happened and what was wrong; the exit status is 1 if anything was, if a fault was not seen to take
effect, or if nothing happened. ``--bus postgres`` is without Redis. ``--json`` writes the same into a file.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.cluster.redis_server import ANY, RedisServer
from tests.cluster.ring.database import RingDatabase
from tests.cluster.ring.faults import Nemesis
from tests.cluster.ring.load import FAULTS, Load, Ring
from tests.cluster.ring.script import play, started

NEEDED = ("acknowledged", "deliveries", "calls ok")
"""Counts that a run proves nothing without."""


async def run(seconds: float, seed: int, nodes: int, accounts: int, bus: str) -> dict[str, Any]:
    """One run; what is to be reported of it."""
    assert ANY is not None, "there is no Redis"
    rng = random.Random(seed)
    database, redis = RingDatabase(), RedisServer(ANY)
    names = [f"n{number}" for number in range(nodes)]
    async with started(reactor, names, database.dsn, redis, {"HAPPY_BUS": bus}) as processes:
        ring = Ring(reactor, [process.served.url for process in processes], rng)
        load = Load(ring, accounts)
        nemesis = Nemesis(reactor, processes, redis, database, rng)
        await load.begin()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await deferLater(reactor, rng.uniform(2, 5))  # type: ignore[arg-type]
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {await nemesis.one(bus)}\n")
        await load.finish(database.latest)
        logs = [process.log + process.served.log for process in processes]
    redis.stop()
    report = {
        "seconds": seconds,
        "seed": seed,
        "bus": bus,
        "faults": {kind: [nemesis.proven[kind], count] for kind, count in sorted(nemesis.done.items())},
        "counts": {
            **dict(sorted(ring.tally.counts.items())),
            "starts that failed": sum(process.failed_starts for process in processes),
        },
        "wrong": {fault: ring.tally.wrong[fault] for fault in FAULTS},
        "examples": ring.tally.examples,
        "errors": sorted({line for log in logs for line in _complaints(log)})[:20],
    }
    return {**report, "failures": failures(report)}


def failures(report: Mapping[str, Any]) -> list[str]:
    """Why a run proves nothing, or that something is wrong; with none of them all was well.

    Each fault has to be seen by what counts it itself: by a node's metrics, by what the system says of a
    process, or by PostgreSQL.
    """
    counts, faults = report["counts"], report["faults"].items()
    wrong = [f"{fault}: {count}" for fault, count in report["wrong"].items() if count]
    wrong += [line for line in report["errors"] if "#critical" in line]
    wrong += [f"{kind}: {count - seen} of {count} not seen" for kind, (seen, count) in faults if seen < count]
    wrong += [f"{what}: none" for what in NEEDED if not counts.get(what)]
    return wrong if faults else [*wrong, "nothing went wrong"]


def _complaints(log: bytes) -> list[str]:
    return [line.decode()[:300] for line in log.splitlines() if b"#error" in line or b"#critical" in line]


def _written(report: dict[str, Any]) -> str:
    lines = []
    for title in ("faults", "counts", "wrong"):
        lines += ["", title]
        for name, value in report[title].items():
            shown = f"{value[1]} ({value[0]} seen to take effect)" if isinstance(value, list) else value
            lines.append(f"  {name:48} {shown}")
    lines += ["", *(report["failures"] or ["all was well"])]
    return "\n".join([*lines, *report["examples"], *report["errors"], ""])


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--accounts", type=int, default=4)
    parser.add_argument("--bus", choices=("redis", "postgres"), default="redis")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    running = run(options.seconds, options.seed, options.nodes, options.accounts, options.bus)
    play(running, options.json, lambda report: report["failures"], _written)


if __name__ == "__main__":
    main()
