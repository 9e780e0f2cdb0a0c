"""``happyctl drain``: empty a server before maintenance."""

from __future__ import annotations

import sys
import time

import click

from happy.operator.control import Control
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.text import some

_STEP = 0.5


@click.command("drain", cls=Tool, examples=["drain --timeout 60", "drain --undo"])
@click.option(
    "--timeout", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to wait at most."
)
@click.option("--undo", is_flag=True, help="Take new sockets again.")
@click.pass_obj
def drain(deployment: Deployment, timeout: float, undo: bool) -> Shown:
    """Take no new sockets, and wait until those that there are have gone.

    The server counts as not ready meanwhile, so that a load balancer sends clients elsewhere. It stays so
    until it is stopped, or told otherwise with --undo.
    """
    left = int(deployment.control.post("/drain", {"draining": not undo})["left"])
    if undo:
        return Shown({"left": left}, [f"New sockets are taken again; there are {left}."])
    left = _wait(deployment.control, left, timeout)
    return Shown(
        {"left": left},
        [
            "All sockets have gone."
            if not left
            else f"{some(left, 'socket')} {'is' if left == 1 else 'are'} left."
        ],
    )


def _wait(control: Control, left: int, timeout: float) -> int:
    """How many sockets are left in the end."""
    until = time.monotonic() + timeout
    while left and (rest := until - time.monotonic()) > 0:
        if sys.stderr.isatty():
            click.echo(f"\r{some(left, 'socket')}, {rest:.0f} s \x1b[K", err=True, nl=False)
        time.sleep(min(_STEP, rest))
        left = int(control.get("/drain")["left"])
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    return left
