"""How soon a worker is replaced that was killed: ``python -m tests.workers --kills 20``.

One of three is killed with SIGKILL, then one again after a pause that is short now and then, while clients
ask on connections of their own. Told are the seconds until the successor serves, and what clients noticed.
``--json`` writes the same into a file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from happy.metrics import Metrics
from happy.settings.loading import load
from happy.workers.parent import WorkersRunning
from happy.workers.pool import LONG_LIFE, Worker
from tests.harness import scratch_database, stop_cluster
from tests.live.serving import free_port

PAUSES = (LONG_LIFE, LONG_LIFE, 1.5, 5.0)
"""Seconds from one successor to the next death; it is another worker's, or the successor's own."""


class Asking:
    """A client that asks again and again; ``slowest`` is its longest answer in seconds."""

    def __init__(self, port: int) -> None:
        self._agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        self._url = b"http://127.0.0.1:%d/health" % port
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.going = True

    async def run(self) -> None:
        """Ask until told otherwise."""
        while self.going:
            began = time.monotonic()
            try:
                answer = await self._agent.request(b"GET", self._url)
                await treq.content(answer)
                self.outcomes[str(answer.code)] += 1
            except Exception as error:
                self.outcomes[type(error).__name__] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            await _pause(0.01)


class Silent:
    """Lets nobody hear what workers log."""

    def pass_on(self, when: float, level: str, namespace: str, text: str) -> None:
        """See :class:`happy.workers.parent.PassesOn`."""


async def run(kills: int, seed: int) -> dict[str, Any]:
    """Kill so often; what is to be reported."""
    rng = random.Random(seed)
    port = free_port()
    with scratch_database() as dsn, tempfile.TemporaryDirectory(prefix="happy-workers-") as folder:
        given = {
            "data-dir": [folder],
            "database-url": [dsn],
            "database-pool": ["4"],
            "workers": ["3"],
            "metrics-enabled": ["false"],
            "listen": [f"tcp:{port}:interface=127.0.0.1"],
            "master-secret": [secrets.token_hex(32)],
        }
        config = load(given, {})
        parent = WorkersRunning(config, reactor, Metrics(), config.workers, Silent())
        await parent.start()
        asking = [Asking(port) for _ in range(4)]
        running = [Deferred.fromCoroutine(one.run()) for one in asking]
        await _pause(LONG_LIFE)
        seconds = []
        for _ in range(kills):
            seconds.append(await _replaced(rng.choice(parent.pool.workers)))
            sys.stderr.write(f"{seconds[-1]:.3f}\n")
            await _pause(rng.choice(PAUSES))
        for one in asking:
            one.going = False
        for ended in running:
            await ended
        await parent.stop()
    outcomes = sum((one.outcomes for one in asking), Counter())
    return {
        "seed": seed,
        "seconds": [round(one, 3) for one in seconds],
        "worst": round(max(seconds), 3),
        "median": round(sorted(seconds)[len(seconds) // 2], 3),
        "requests": dict(outcomes),
        "slowest request": round(max(one.slowest for one in asking), 3),
    }


async def _replaced(worker: Worker) -> float:
    """Kill one; the seconds until its successor serves."""
    killed, began = worker.pid, time.monotonic()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    while worker.pid in (killed, None) or not worker.serves:
        await _pause(0.002)
    return time.monotonic() - began


def _pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)  # type: ignore[arg-type]


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.workers", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    def ended(report: dict[str, Any]) -> None:
        written = json.dumps(report, indent=1)
        sys.stdout.write(f"{written}\n")
        if options.json is not None:
            options.json.write_text(written)

    running = Deferred.fromCoroutine(run(options.kills, options.seed))
    running.addCallback(ended).addErrback(lambda failure: failure.printTraceback(sys.stderr))
    running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    stop_cluster()


if __name__ == "__main__":
    main()
