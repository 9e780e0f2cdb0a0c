"""``happyctl drain``: empty a server before maintenance."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from happy.operator.control import Control
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.text import some
from happy.operator.trouble import FAILED, FINE, CommandFailed

_STEP = 0.5


@click.command("drain", cls=Tool, examples=["drain --timeout 60", "drain --undo", "drain --all --timeout 0"])
@click.option(
    "--timeout", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to wait at most."
)
@click.option("--undo", is_flag=True, help="Take new sockets again.")
@click.option("--all", "everywhere", is_flag=True, help="All nodes of the service, not only this one.")
@click.pass_obj
def drain(deployment: Deployment, timeout: float, undo: bool, everywhere: bool) -> Shown:
    """Take no new sockets, and wait until those that there are have gone.

    Of several nodes this one is emptied, with all its workers; the others serve on. It counts as not ready
    meanwhile, so that a load balancer sends clients elsewhere. It stays so until it is stopped, or told
    otherwise with --undo.
    """
    order = {"draining": not undo, "everywhere": everywhere}
    found = deployment.control.post("/drain", order)
    if everywhere and "nodes" not in found:
        raise CommandFailed("this server, of another version, did it alone: do it at each node")
    if not undo:
        found = _wait(deployment.control, order, found, timeout)
    document = {"left": found["left"]} | ({"nodes": found["nodes"]} if everywhere else {})
    text = [_undone(found) if undo else _left(found)]
    silent = found.get("silent")
    if silent:
        text.append(f"No answer from {' and '.join(silent)}: do it there.")
        document["silent"] = silent
    return Shown(document, text, FAILED if silent else FINE)


def _left(found: Mapping[str, Any]) -> str:
    left = found["left"]
    if not left:
        return "All sockets have gone."
    nodes = found.get("nodes", {})
    each = [f"{name}: {count}" for name, count in nodes.items() if count]
    where = f" ({', '.join(each)})" if len(nodes) > 1 else ""
    return f"{some(left, 'socket')} {'is' if left == 1 else 'are'} left{where}."


def _undone(found: Mapping[str, Any]) -> str:
    return f"New sockets are taken again; there are {found['left']}."


def _wait(control: Control, order: Mapping[str, Any], found: Any, timeout: float) -> Any:
    """What is left in the end. It is said again and again, so whoever is replaced meanwhile hears it too."""
    until = time.monotonic() + timeout
    while found["left"] and (rest := until - time.monotonic()) > 0:
        if sys.stderr.isatty():
            click.echo(f"\r{some(found['left'], 'socket')}, {rest:.0f} s \x1b[K", err=True, nl=False)
        time.sleep(min(_STEP, rest))
        found = control.post("/drain", order)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    return found
