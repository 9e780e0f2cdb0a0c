"""What a batch of messages costs PostgreSQL: ``python -m tests.scale.batches``.

The committer's statement, with several nodes, on a session that does nothing else: microseconds of processor
time of that session's process, for batches of one account, and of as many accounts as messages, each with one
session. The server is durable unless ``--no-fsync``. With ``--change`` there is a second database to which a
file of SQL was done: an index dropped, a function replaced. Both are used by turns, since a machine's speed
changes within minutes. Linux only.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from happy.base.ids import new_cuid
from happy.postgres.binaries import choose, installations
from happy.storage.append import AppendRow, append
from happy.storage.blocking import BlockingConnection, connect, finished
from happy.storage.session import SESSION
from happy.storage.transaction import Transaction
from happy.storage.types import Millis
from tests.harness import NEW_ACCOUNT, Cluster, psql

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES (%s, %s, '', %s, %s)
"""
ACCOUNTS = 32
SHAPES = [(1, 1), (7, 1), (7, 7), (20, 1), (20, 20)]
"""How many messages, of how many accounts."""
WARM_UP = 40
METADATA, CONTENT = "m" * 400, secrets.token_urlsafe(768)


class Lane:
    """A database, and the session that writes to it."""

    def __init__(self, dsn: str, change: str = "") -> None:
        if change:
            psql(dsn, change)
        self._connection: BlockingConnection = connect(dsn, "batches")
        for name, value in SESSION.items():
            self._connection.run("SELECT set_config(%s, %s, false)", (name, value))
        self._writer = secrets.token_hex(8)
        self._now = 1_764_500_000_000
        self._made = 0
        self._places = sorted(self._place(dsn) for _ in range(ACCOUNTS))
        self._pid = self._connection.pollable().get_backend_pid()

    def _place(self, dsn: str) -> tuple[str, str]:
        account, session, at = new_cuid(), new_cuid(), Millis(self._now)
        psql(dsn, NEW_ACCOUNT, (account, account, at, at))
        psql(dsn, NEW_SESSION, (session, account, METADATA, at))
        return account, session

    def cost(self, messages: int, accounts: int, calls: int) -> float:
        """Microseconds of the session's process for a batch, the mean of so many."""
        batches = [self._batch(messages, accounts) for _ in range(calls)]
        before = self._used()
        for rows in batches:
            self._now += 1
            tx = Transaction(self._connection, self._now, reading=True)  # type: ignore[arg-type]
            stored = finished(append(tx, self._writer, self._now, rows, noted=True))
            assert all(row.new for row in stored) and len(stored) == messages
        return (self._used() - before) / calls / 1000

    def _batch(self, messages: int, accounts: int) -> list[AppendRow]:
        chosen = sorted(random.sample(self._places, accounts) * (messages // accounts))
        self._made += 1
        return [
            AppendRow(account, session, f"{self._made}-{number}", new_cuid(), CONTENT, new_cuid())
            for number, (account, session) in enumerate(chosen)
        ]

    def _used(self) -> int:
        """Nanoseconds."""
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0])

    def close(self) -> None:
        """End the session."""
        self._connection.close()


def measure(lanes: Sequence[Lane], rounds: int, calls: int) -> None:
    """Print what batches of each shape cost in each lane, and the median of the later one's share."""
    for messages, accounts in SHAPES:
        for lane in lanes:
            lane.cost(messages, accounts, WARM_UP)
        costs = [[lane.cost(messages, accounts, calls) for lane in lanes] for _ in range(rounds)]
        means = [f"{median(column):.0f} us" for column in zip(*costs, strict=True)]
        shares = [row[-1] / row[0] for row in costs]
        share = f", {median(shares):.3f} of it" if len(lanes) > 1 else ""
        sys.stdout.write(f"{messages} messages of {accounts} accounts: {', '.join(means)}{share}\n")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.batches", description=__doc__)
    parser.add_argument("--change", type=Path, help="a file of SQL, done to the second database")
    parser.add_argument("--no-fsync", action="store_true", help="what PostgreSQL does, without the disk")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=50)
    options = parser.parse_args()
    durable = {} if options.no_fsync else {"fsync": "on", "full_page_writes": "on"}
    cluster = Cluster(choose(installations(), None), durable)
    try:
        changes = [""] if options.change is None else ["", options.change.read_text()]
        lanes = [Lane(cluster.create(), change) for change in changes]
        measure(lanes, options.rounds, options.calls)
        for lane in lanes:
            lane.close()
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
