"""Change the code a little, many times, and see whether a test notices.

``python -m tests.mutation`` tries a sample of each module of :data:`tests.mutation.modules.MODULES`, and
prints a row of a table for each, with the lines of those mutants that no test noticed. ``python -m
tests.mutation happy.realtime.hub happy.wire`` tries one module, and those of a room; ``--sample 0`` tries
every mutant.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutation.modules import MODULES, ROOT, chosen_tests, named, source_of
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.running import Tree


class Tried(NamedTuple):
    """A module: how many mutants there are, how many were tried, and those that nobody noticed.

    None is tried of a module whose tests fail without a mutant, as they may where much else runs.
    """

    module: str
    all: int
    tried: int
    survivors: list[Mutant]


def try_module(module: str, sample: int, seed: int, trees: SimpleQueue[Tree]) -> Tried:
    """Run a module's tests on some of its mutants."""
    tests = chosen_tests(module)
    every = list(mutants((ROOT / source_of(module)).read_text()))
    chosen = random.Random(f"{seed} {module}").sample(every, min(sample or len(every), len(every)))
    tree = trees.get()
    try:
        usual = tree.usual_seconds(tests)
        if usual is None:
            return Tried(module, len(every), 0, [])
        survivors = [one for one in chosen if not tree.notices(module, one.text, tests, usual)]
    finally:
        trees.put(tree)
    return Tried(module, len(every), len(chosen), survivors)


def show(tried: Tried) -> None:
    """A row of the table, and the lines of the survivors."""
    say(f"| `{tried.module}` | {tried.all} | {tried.tried} | {tried.tried - len(tried.survivors)} |")
    for one in tried.survivors:
        sys.stderr.write(f"{tried.module}:{one.line}: {one.operator}\n  - {one.before}\n  + {one.after}\n")


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("modules", nargs="*", default=MODULES, help="or rooms; else all")
    parser.add_argument("--sample", type=int, default=12, help="mutants a module; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--jobs", type=int, default=2, help="modules at once")
    return parser.parse_args()


def run(modules: Sequence[str], sample: int, seed: int, jobs: int) -> bool:
    """Try the modules; answers whether all were tried, and every mutant noticed."""
    noticed = True
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        Path(scratch).chmod(0o755)
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(jobs):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            trees.put(Tree(folder))
        say("| Module | Mutants | Tried | Noticed |\n| --- | --- | --- | --- |")
        for tried in pool.map(lambda module: try_module(module, sample, seed, trees), modules):
            show(tried)
            noticed = noticed and tried.tried > 0 and not tried.survivors
    return noticed


if __name__ == "__main__":
    chosen = options()
    sys.exit(0 if run(named(chosen.modules), chosen.sample, chosen.seed, chosen.jobs) else 1)
