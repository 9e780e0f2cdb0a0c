"""Attack a server in every way that is known, each against a fresh one: ``python -m tests.hostile``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from happy.bench.summary import machine
from tests.hostile.attacks import names
from tests.hostile.judging import COLUMNS, Bounds, Outcome, row
from tests.hostile.running import arena
from tests.operated import say

LIMIT = 120.0
"""Seconds for one attack."""
STANDSTILL = 0.2
"""Seconds that the machine may stand still before an attack that seems to fail is tried once more."""


def main() -> int:
    """Do what the command line asks for; the exit status is 0 if everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="attacks whose name contains this")
    parser.add_argument("--short", action="store_true", help="as in the suite, but each on its own server")
    parser.add_argument("--twistd", type=Path, help="the server of another installation")
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    chosen = [name for name in names() if not options.only or any(one in name for one in options.only)]
    outcomes = []
    for name in chosen:
        outcomes.append(_play(name, options))
        say("  ".join(row(outcomes[-1])))
    say("")
    _show(outcomes)
    if options.json:
        report = {"machine": machine(), "attacks": [one.dump() for one in outcomes]}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 0 if outcomes and not any(one.wrong for one in outcomes) else 1


def _play(name: str, options: argparse.Namespace) -> Outcome:
    outcome = _once(name, options)
    if outcome.wrong and outcome.seen.lag > STANDSTILL:
        outcome = _once(name, options)
    return outcome


def _once(name: str, options: argparse.Namespace) -> Outcome:
    with arena(at_length=not options.short, twistd=options.twistd) as playing:
        return playing.play(name, Bounds(), LIMIT)


def _show(outcomes: list[Outcome]) -> None:
    rows = [COLUMNS, *map(row, outcomes)]
    widths = [max(len(one[column]) for one in rows) for column in range(len(COLUMNS))]
    for one in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)).rstrip())
    held = sum(not one.wrong for one in outcomes)
    say(f"{held} of {len(outcomes)} hold")


if __name__ == "__main__":
    sys.exit(main())
