"""What a second PostgreSQL would bring, by simulation: ``python -m tests.scale.shards``.

Accounts are divided by their ids between one or two servers, each with a committer of its own in this process
and as many messages under way altogether. What a machine of its own would be is a limit on
the server's processor time (``--cores``, by the control groups of Linux, as root): so the servers are what
limits the rate, not this machine. Then two accounts become friends: on one server by a transaction, across
two by both servers' PREPARE TRANSACTION and COMMIT PREPARED.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psycopg2
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from happy.base.ids import new_cuid
from happy.bench import proc
from happy.metrics import Metrics
from happy.postgres.binaries import choose, installations
from happy.realtime.committer import Committer
from happy.realtime.hub import Hub
from happy.storage.database import Database
from happy.storage.messages import IncomingMessage
from happy.storage.types import Millis
from tests.harness import NEW_ACCOUNT, Cluster

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES (%s, %s, '', '', %s)
"""
BEFRIEND = 'UPDATE "Account" SET "seq" = "seq" + 1 WHERE "id" = %s'
GROUPS = Path("/sys/fs/cgroup/cpu")
"""Where control groups of the first version are; of the second, one folder above."""
PERIOD = 10_000
"""Microseconds in which a share of the processor is divided out."""


class Limit:
    """A share of the processor for a server, with all its processes."""

    def __init__(self, cluster: Cluster, cores: float) -> None:
        first = GROUPS.is_dir()
        self._folder = (GROUPS if first else GROUPS.parent) / f"happy-shard-{secrets.token_hex(4)}"
        self._folder.mkdir()
        quota = int(cores * PERIOD)
        if first:
            (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self._folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self._folder / "cpu.max").write_text(f"{quota} {PERIOD}")
        for pid in (cluster.pid, *proc.children(cluster.pid, proc.parents())):
            with suppress(ProcessLookupError):  # one that did something at the start, and is gone
                (self._folder / "cgroup.procs").write_text(str(pid))

    def end(self) -> None:
        """Remove the group, whose processes are gone."""
        self._folder.rmdir()


class Shard:
    """One server, with those accounts whose ids fall to it."""

    def __init__(self, cores: float | None) -> None:
        self.cluster = Cluster(choose(installations(), None), {"max_prepared_transactions": "10"})
        self._limit = None if cores is None else Limit(self.cluster, cores)
        self.dsn = self.cluster.create()
        self.hub = Hub(Metrics(CollectorRegistry()))
        metrics = Metrics(CollectorRegistry())
        self._database = Database(self.dsn, size=2, clock=reactor, publisher=self.hub)
        self._committer = Committer(reactor, self._database, self.hub, metrics)  # type: ignore[arg-type]
        self.sessions: list[tuple[str, str]] = []

    async def start(self) -> None:
        """Connect."""
        await self._database.start()
        self._committer.start()

    async def add(self, account: str) -> None:
        """An account with a session."""
        session = new_cuid()

        async def work(tx: Any) -> None:
            at = Millis(tx.now)
            await tx.run(NEW_ACCOUNT, (account, account, at, at))
            await tx.run(NEW_SESSION, (session, account, at))

        await self._database.transact(work)
        self.sessions.append((account, session))

    async def write(self, account: str, session: str, until: float) -> int:
        """Messages one after the other; how many there were."""
        written = 0
        while time.monotonic() < until:
            await self._committer.append(account, session, [IncomingMessage(None, "x" * 1024)])
            written += 1
        return written

    def cpu(self) -> float:
        """Seconds of processor time of all its processes."""
        children = proc.children(self.cluster.pid, proc.parents())
        return proc.cpu_seconds(self.cluster.pid, with_reaped=True) + sum(map(proc.cpu_seconds, children))

    async def stop(self) -> None:
        """End everything."""
        await self._committer.stop()
        await self._database.stop()
        self.cluster.stop()
        if self._limit is not None:
            self._limit.end()


def shard_of(account: str, shards: Sequence[Shard]) -> Shard:
    """Where an account is."""
    return shards[int.from_bytes(blake2b(account.encode(), digest_size=4).digest(), "big") % len(shards)]


async def measure(count: int, cores: float | None, accounts: int, seconds: float) -> dict[str, Any]:
    """Messages a second over so many servers, and what a friendship takes."""
    shards = [Shard(cores) for _ in range(count)]
    for shard in shards:
        await shard.start()
    for _ in range(accounts):
        account = new_cuid()
        await shard_of(account, shards).add(account)
    before, mine = [shard.cpu() for shard in shards], time.process_time()
    until = time.monotonic() + seconds
    writing = [Deferred.fromCoroutine(one.write(*own, until)) for one in shards for own in one.sessions]
    written = sum(await gatherResults(writing))
    used = [shard.cpu() - was for shard, was in zip(shards, before, strict=True)]
    report = {
        "servers": count,
        "messages a second": round(written / seconds),
        "cores of each server": [round(one / seconds, 2) for one in used],
        "server us a message": round(sum(used) / written * 1e6, 1),
        "python us a message": round((time.process_time() - mine) / written * 1e6, 1),
        "friendship ms": round(befriend(shards[0], shards[-1]) * 1000, 2),
    }
    for shard in shards:
        await shard.stop()
    return report


def befriend(first: Shard, second: Shard, times: int = 200) -> float:
    """The median seconds until two accounts, of two servers or of one, both know of each other."""
    took = []
    pair = (first.sessions[0][0], second.sessions[-1][0])
    with closing(psycopg2.connect(first.dsn)) as one, closing(psycopg2.connect(second.dsn)) as two:
        for number in range(times):
            began = time.perf_counter()
            if first is second:
                _in_one(one, pair)
            else:
                _across([one, two], pair, f"f{number}")
            took.append(time.perf_counter() - began)
    return sorted(took)[times // 2]


def _in_one(connection: Any, pair: Sequence[str]) -> None:
    with connection, connection.cursor() as cursor:
        for account in pair:
            cursor.execute(BEFRIEND, (account,))


def _across(connections: Sequence[Any], pair: Sequence[str], name: str) -> None:
    """Locks are taken in the order of the servers: so nobody waits for each other."""
    for connection, account in zip(connections, pair, strict=True):
        connection.tpc_begin(connection.xid(1, name, "happy"))
        with connection.cursor() as cursor:
            cursor.execute(BEFRIEND, (account,))
    for connection in connections:
        connection.tpc_prepare()
    for connection in connections:
        connection.tpc_commit()


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One and two servers, in turns."""
    cores = options.cores if os.getuid() == 0 and options.cores else None
    reports = []
    for count in (1, 2) * options.rounds:
        reports.append(await measure(count, cores, options.accounts, options.seconds))
        sys.stdout.write(f"{json.dumps(reports[-1])}\n")
    return reports


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.shards", description=__doc__)
    parser.add_argument("--cores", type=float, default=0.1, help="of each server; 0: what there is")
    parser.add_argument("--accounts", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    def ended(reports: list[dict[str, Any]]) -> None:
        if options.json is not None:
            options.json.write_text(json.dumps({"cores": options.cores, "runs": reports}, indent=1))

    running = Deferred.fromCoroutine(run(options))
    running.addCallback(ended).addErrback(lambda failure: failure.printTraceback(sys.stderr))
    running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
