"""The entry point ``happyctl``: tools for whoever runs a server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import happy
from happy.bench import cli as bench


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = argparse.ArgumentParser(prog="happyctl", description="Tools for a Happy server.")
    parser.add_argument("--version", action="version", version=happy.__version__)
    commands = parser.add_subparsers(metavar="command", required=True)
    what = "measure what a server can carry, and check that nothing is lost"
    bench.add_arguments(commands.add_parser("bench", help=what, description=f"{what[0].upper()}{what[1:]}."))
    options = parser.parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
