"""The entry point ``happyctl``: tools for whoever runs a server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import happy
from happy.bench import cli as bench

COMMANDS = {
    "bench": (bench.add_arguments, "measure what a server can carry, and check that nothing is lost"),
}
"""By name what describes a command line, and sets ``run`` to the command; and what the command does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = argparse.ArgumentParser(prog="happyctl", description="Tools for a Happy server.")
    parser.add_argument("--version", action="version", version=happy.__version__)
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (describe, what) in COMMANDS.items():
        describe(commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}."))
    options = parser.parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
