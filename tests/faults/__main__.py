"""Hurt a server while it carries the load of the hosted service: ``python -m tests.faults``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from happy.bench.summary import machine
from tests.faults.harm import FAULTS
from tests.faults.running import Outcome, Plan, perform
from tests.operated import say

LOGGED = 200
_COLUMNS = ("fault", "lasted", "quiet p99", "worst p99", "recovered", "errors", "served", "")


def main() -> int:
    """Do what the command line asks for; the exit status is 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", default=",".join(FAULTS), help=", ".join(FAULTS))
    parser.add_argument("--scale", type=float, default=0.5, help="part of the hosted service (0.5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long what lasts is to last (60)")
    parser.add_argument("--sockets", type=int, default=1000, help="sockets that misbehave (1000)")
    parser.add_argument("--settling", type=float, default=15.0, help="seconds after each fault (15)")
    parser.add_argument("--disk", type=int, default=2048, help="size of the disk that is filled, MiB")
    parser.add_argument("--folder", type=Path, default=None, help="where the scratch folder goes")
    parser.add_argument("--json", type=Path, default=None, help="write everything there")
    options = parser.parse_args()
    plan = Plan(
        faults=[fault for fault in options.faults.split(",") if fault],
        scale=options.scale,
        sockets=options.sockets,
        lasting=options.seconds,
        settling=options.settling,
        disk=options.disk,
        folder=options.folder,
    )
    outcome = perform(plan, say)
    _show(outcome)
    if options.json:
        report = msgspec.json.encode(_report(outcome, plan))
        options.json.write_bytes(msgspec.json.format(report, indent=1) + b"\n")
    return 0 if outcome.run.verdict.clean and not outcome.problems else 1


def _show(outcome: Outcome) -> None:
    rows = [_COLUMNS] + [
        (
            effect.fault,
            f"{effect.lasted:.1f} s",
            f"{effect.quiet_p99:.0f} ms",
            f"{effect.worst_p99:,.0f} ms",
            "no" if effect.recovered is None else f"{effect.recovered:.1f} s",
            f"{effect.errors:,}",
            f"{effect.served:,}",
            effect.note,
        )
        for effect in outcome.effects
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for effect in outcome.effects:
        for reason, count in effect.reasons.items():
            say(f"  {effect.fault}: {count:,} x {reason}")
    for fault in outcome.skipped:
        say(f"{fault}: skipped, this process may not mount a file system")
    verdict = outcome.run.verdict
    say(", ".join(f"{name} {number:,}" for name, number in verdict.dump().items()))
    say(f"memory of the server at most {outcome.memory:.0f} MiB")


def _report(outcome: Outcome, plan: Plan) -> dict[str, Any]:
    return {
        "machine": machine(),
        "plan": {**asdict(plan), "folder": None},
        "effects": [asdict(effect) for effect in outcome.effects],
        "skipped": outcome.skipped,
        "problems": outcome.problems,
        **outcome.run.verdict.dump(),
        "memory_mib": round(outcome.memory, 1),
        "seconds": [
            {
                "second": second,
                "p99_ms": {
                    name: round(one.quantile(0.99) * 1e3, 1) for name, one in period.durations.items()
                },
                "amounts": dict(period.amounts),
                "errors": dict(period.errors),
            }
            for second, period in sorted(outcome.run.seconds.items())
        ],
        "log": [line for line in outcome.log.splitlines() if not line.startswith(" ")][-LOGGED:],
    }


if __name__ == "__main__":
    sys.exit(main())
