"""Send a server what its declarations make, a million times, beside an innocent client.

Everything is made from a seed: a batch of a seed is the same whenever it is sent, so that a finding can be
repeated with ``--batch``, and a long run can be made in pieces with ``--first``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from happy.bench.summary import machine
from tests.hostile.running import arena
from tests.operated import say
from tests.properties.part import SIZE, Finding
from tests.properties.running import Outcome, Plan, perform

OPTIONS = ("--address-limit=0", "--login-limit=0", "--debug-log")
MOST_SHOWN = 3
BOUND, LEFT = 0.25, 64.0
"""Seconds that the innocent may wait beyond what its machine owes; MiB that may be left."""


def main() -> int:
    """Do what the command line asks for; the exit status is 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--seed", type=int, default=1, help="what they are made from (1)")
    parser.add_argument(
        "--first", type=int, default=0, help="the batch to begin with: goes on with a former run"
    )
    parser.add_argument("--batch", type=int, help="only this one")
    parser.add_argument("--parts", type=int, default=4, help="processes that send (4)")
    parser.add_argument("--twistd", type=Path, help="the server of another installation")
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    if options.batch is None:
        plan = Plan(options.seed, -(-options.inputs // SIZE), options.first, options.parts)
    else:
        plan = Plan(options.seed, 1, options.batch, 1)
    with arena(at_length=True, twistd=options.twistd, options=OPTIONS) as playing:
        outcome = perform(plan, playing, say)
    wrong = _judge(outcome)
    _show(outcome, plan, wrong)
    if options.json:
        report = {
            "machine": machine(),
            "seed": plan.seed,
            "first": plan.first,
            "wrong": wrong,
            **outcome.dump(),
        }
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 1 if wrong else 0


def _judge(outcome: Outcome) -> list[str]:
    kind, worst = outcome.seen.worst
    checks = {
        f"{len(outcome.findings)} findings": bool(outcome.findings),
        f"{kind} took {worst:.2f} s": worst > BOUND,
        f"{outcome.stalls.long:.0f} stalls over 50 ms": outcome.stalls.long > 0,
        f"{outcome.tracebacks} tracebacks": outcome.tracebacks > 0,
        f"memory still +{outcome.left:.0f} MiB": outcome.left > LEFT,
        f"harm: {outcome.seen.harm}": bool(outcome.seen.harm),
    }
    return [text for text, holds in checks.items() if holds]


def _show(outcome: Outcome, plan: Plan, wrong: list[str]) -> None:
    total = outcome.inputs.total()
    say(f"{total:,} inputs in {outcome.seconds:.0f} s, {total / outcome.seconds:,.0f}/s, seed {plan.seed}")
    for name, count in outcome.inputs.items():
        own = {one.partition(" ")[2]: many for one, many in outcome.outcomes.items() if one.startswith(name)}
        parts = [f"{one} {own[one]:,}" for one in sorted(own)]
        say(f"  {name}: {count:,}; {', '.join(parts)}")
    for one in outcome.slowest:
        say(f"  slow: batch {one.batch}, {one.kind}, {one.seconds:.2f} s")
    kind, worst = outcome.seen.worst
    say(f"innocent: worst {worst * 1e3:.0f} ms ({kind}) of {outcome.seen.count:,}")
    say(f"memory +{outcome.growth:.0f} MiB, {outcome.left:+.0f} MiB afterwards; log {outcome.log:.0f} KiB")
    say(f"to go on: --seed {plan.seed} --first {outcome.following}")
    for finding in _samples(outcome):
        say(f"--seed {plan.seed} --batch {finding.batch}: {finding.what}: {finding.input}")
    say("nothing was found" if not wrong else "; ".join(wrong))


def _samples(outcome: Outcome) -> Iterator[Finding]:
    """Some of each kind."""
    shown = Counter[str]()
    for finding in outcome.findings:
        shown[finding.what[:40]] += 1
        if shown[finding.what[:40]] <= MOST_SHOWN:
            yield finding


if __name__ == "__main__":
    sys.exit(main())
