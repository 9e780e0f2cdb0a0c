"""``happyctl status``: a running server on one screen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click
from rich.live import Live
from rich.table import Table

from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool, terminal
from happy.operator.others import own
from happy.operator.text import age, allowed, duration, facts, number, rate, size, some
from happy.operator.trouble import Misused

_STEP = 2.0
"""Seconds between two looks of someone who watches."""


@click.command("status", cls=Tool, examples=["status", "status --watch", "status --json"])
@click.option("--watch", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.pass_context
def status(ctx: click.Context, watch: bool) -> Shown | None:
    """Show how a running server is."""
    deployment: Deployment = ctx.obj
    if not watch:
        found = deployment.control.get("/status")
        return Shown(found, [_screen(found)])
    if ctx.meta["happyctl.json"]:
        raise Misused("--json is one document, and --watch goes on")
    with Live(console=terminal(), auto_refresh=False) as live:
        while True:
            live.update(_screen(deployment.control.get("/status")), refresh=True)
            time.sleep(_STEP)


def _screen(found: Mapping[str, Any]) -> Table:
    sockets = found["sockets"]
    scopes = ", ".join(f"{number(count)} {scope}" for scope, count in sockets.items())
    lines = [
        ("version", found["version"]),
        ("listening", " ".join(found["listening"])),
        ("up", duration(found["uptimeMs"])),
        ("ready", "yes" if found["ready"] else f"no: {', '.join(found['reasons'])}"),
        ("sockets", f"{number(sum(sockets.values()))} ({scopes})"),
        ("messages a minute", rate(found.get("messagesPerMinute"))),
        ("accounts", number(found["accounts"])),
        ("pairings that wait", number(found["pairings"])),
        ("database", size(found["databaseBytes"])),
        ("files", size(found["filesBytes"])),
        ("free", size(found["freeBytes"])),
        ("last backup", age(found["lastBackupAt"])),
        ("quotas", allowed(found["quotas"])),
    ]
    ours = own(found["nodes"]).get("secret")
    lines += [("node", _node(node, ours)) for node in found["nodes"]]
    return facts(lines)


def _node(node: Mapping[str, Any], ours: str | None) -> str:
    """A node on one line, of which ``ours`` is the secret; what it does not tell is left out."""
    told = [f"{node['name']} {node['state']}"]
    if node.get("host"):
        told.append(f"at {node['host']}")
    if node.get("version"):
        told.append(f"version {node['version']}")
    if node.get("since"):
        told.append(f"up {duration(time.time() * 1000 - node['since'])}")
    if node.get("sockets") is not None:
        told.append(some(node["sockets"], "socket"))
    if node.get("filesElsewhere"):
        told.append("files elsewhere")
    if ours and node.get("secret", ours) != ours:
        told.append(f"master secret {node['secret']} instead of {ours}")
    return ", ".join(told)
