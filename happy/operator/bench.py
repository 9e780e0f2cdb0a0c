"""``happyctl bench``: the load tool, whose options are its own."""

from __future__ import annotations

import argparse

import click

from happy.bench import cli

_WHAT = "measure what a server can carry, and check that nothing is lost"


@click.command(
    "bench",
    help=f"{_WHAT.capitalize()}.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> int:
    """Let the tool read its part of the command line."""
    parser = argparse.ArgumentParser(prog="happyctl bench", description=f"{_WHAT.capitalize()}.")
    cli.add_arguments(parser)
    options = parser.parse_args(arguments)
    return int(options.run(options))
