"""Kill PostgreSQL and the server while several accounts write: is every number what was told?

``python -m tests.faults.numbers`` prints a table: what was lost, duplicated, reordered, falling or unstored,
of messages and of account numbers, by sockets and HTTP.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg2

from happy.bench.summary import machine
from tests.faults.dying import kill_backend, kill_postgres, kill_server, wait_for_database
from tests.faults.ledgers import KINDS
from tests.faults.stage import Stage
from tests.faults.writers import Writers
from tests.interposed import Switches
from tests.operated import operated, say

SERVER = ("--metrics-enabled=false", "--address-limit=0", "--login-limit=0")
ACCOUNT_NUMBERS = 'SELECT "id", "seq" FROM "Account"'
_REVIVAL, _STEP = 60.0, 0.05
_KILLS = {"postgres": kill_postgres, "backend": kill_backend, "server": kill_server}


@dataclass(frozen=True)
class Plan:
    """How many kills of what, in an order and at moments that come from the seed; ``pause`` is their mean."""

    accounts: int = 8
    postgres: int = 20
    backends: int = 5
    servers: int = 10
    pause: float = 2.0
    seed: int = 1
    folder: Path | None = None
    twistd: Path | None = None


@dataclass
class Outcome:
    """``faults`` by their kinds, and examples; ``waits`` are seconds from each kill to the database."""

    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    confirmed: int = 0
    announced: int = 0
    slowest: float = 0.0

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **{kind: self.faults[kind] for kind in KINDS},
            "examples": self.examples,
            "kills": dict(self.kills),
            "confirmed": self.confirmed,
            "announced": self.announced,
            "slowest_post_s": round(self.slowest, 1),
            "slowest_revival_s": round(max(self.waits, default=0.0), 1),
        }


def perform(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Do the whole run on a fresh server."""
    with tempfile.TemporaryDirectory(prefix="happy-numbers-", dir=plan.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        switches = Switches(folder)
        with operated(folder, *SERVER, environment=switches.environment, twistd=plan.twistd) as server:
            server.start()
            stage = Stage(server, switches, 0.0, 0)
            return _play(plan, stage, say)


def _play(plan: Plan, stage: Stage, say: Callable[[str], None]) -> Outcome:
    outcome, rng = Outcome(), random.Random(plan.seed)
    writers = Writers(stage.server.url, plan.accounts)
    writers.start()
    kills = ["postgres"] * plan.postgres + ["backend"] * plan.backends + ["server"] * plan.servers
    rng.shuffle(kills)
    time.sleep(plan.pause)
    for number, kind in enumerate(kills, 1):
        _KILLS[kind](stage)
        begun = time.monotonic()
        if not wait_for_database(stage):
            outcome.faults["lost"] += 1
            outcome.examples.append(f"no database after kill {number}, {kind}")
            kill_server(stage)
        _look(stage, writers)
        outcome.kills[kind] += 1
        outcome.waits.append(time.monotonic() - begun)
        say(f"{number} of {len(kills)} kills: {kind}, back after {outcome.waits[-1]:.1f} s")
        time.sleep(rng.choice((0.05, 1.0, 1.0, 2.0)) * plan.pause)
    # The last messages are posted when everybody hears, and looked up once more.
    writers.finish(lambda: _look(stage, writers))
    for home in writers.homes:
        outcome.faults.update(home.ledger.faults)
        outcome.examples += home.ledger.examples
        outcome.confirmed += len(home.ledger.confirmed)
        outcome.announced += home.ledger.announcements
        outcome.slowest = max(outcome.slowest, home.refused)
    return outcome


def _look(stage: Stage, writers: Writers) -> None:
    """Look at every account's number in the database."""
    numbers = _numbers(stage.server.dsn)
    for home in writers.homes:
        home.ledger.in_database(numbers[home.id])


def _numbers(dsn: str) -> dict[str, int]:
    """The accounts' numbers, as soon as PostgreSQL tells them: for a killed session it ends all others."""
    end = time.monotonic() + _REVIVAL
    while True:
        try:
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                cursor.execute(ACCOUNT_NUMBERS)
                return dict(cursor.fetchall())
        except psycopg2.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(_STEP)


def main() -> int:
    """Do what the command line asks for; the exit status is 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.numbers", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of PostgreSQL, all its processes (20)")
    parser.add_argument("--backends", type=int, default=5, help="of one session of PostgreSQL (5)")
    parser.add_argument("--servers", type=int, default=10, help="of the server (10)")
    parser.add_argument("--accounts", type=int, default=8, help="that write (8)")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between kills, about (2)")
    parser.add_argument("--seed", type=int, default=1, help="of the order and the moments (1)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder goes")
    parser.add_argument("--twistd", type=Path, help="the server of another installation")
    parser.add_argument("--json", type=Path, help="write everything there")
    given = parser.parse_args()
    plan = Plan(
        accounts=given.accounts,
        postgres=given.kills,
        backends=given.backends,
        servers=given.servers,
        pause=given.pause,
        seed=given.seed,
        folder=given.folder,
        twistd=given.twistd,
    )
    outcome = perform(plan, say)
    _show(outcome)
    if given.json:
        report = {"machine": machine(), "seed": plan.seed, **outcome.dump()}
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 1 if outcome.faults.total() else 0


def _show(outcome: Outcome) -> None:
    say("")
    for kind, count in outcome.kills.items():
        say(f"{kind + ' killed':<20}{count:>8,}")
    for name, value in (("confirmed", outcome.confirmed), ("announced", outcome.announced)):
        say(f"{name:<20}{value:>8,}")
    for kind in KINDS:
        say(f"{kind:<20}{outcome.faults[kind]:>8,}")
    say(f"slowest post {outcome.slowest:.1f} s, slowest revival {max(outcome.waits, default=0.0):.1f} s")
    for example in outcome.examples[:20]:
        say(f"  {example}")


if __name__ == "__main__":
    sys.exit(main())
