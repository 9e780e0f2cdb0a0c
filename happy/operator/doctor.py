"""``happyctl doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click
from rich.table import Table

from happy.operator.checks import Check, Look, looked
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.inside import from_inside
from happy.operator.outside import from_outside
from happy.operator.trouble import FAILED, FINE

_WORDS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


@click.command(
    "doctor", cls=Tool, examples=["doctor", "doctor --url https://happy.example.org", "doctor --json"]
)
@click.option("--url", metavar="URL", help="Look also from outside, through the address that clients have.")
@click.pass_obj
def doctor(deployment: Deployment, url: str | None) -> Shown:
    """Look for what is wrong, and say how to mend it.

    Looks at settings, folder, secret, database, disk and clock, and at what the server needs from others.
    With --url also at what clients find: certificate, proxy, WebSocket, long polling. Changes nothing. The
    exit status is 1 when a check failed.
    """
    refusals = deployment.findings().refusals
    if refusals:
        checks = [
            Check("settings", "fail", line, "mend it; happyctl config check shows all") for line in refusals
        ]
    else:
        looks: list[Look] = from_inside(deployment)
        if url is not None:
            looks.append(partial(from_outside, url, deployment.config))
        checks = looked(looks)
    status = FAILED if any(check.state == "fail" for check in checks) else FINE
    return Shown({"checks": [check._asdict() for check in checks]}, [_listed(checks)], status)


def _listed(checks: Sequence[Check]) -> Table:
    """A numbered line a check, the way to mend it below."""
    made = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("right", "left", "left", "left"):
        made.add_column(justify=justify)
    for number, check in enumerate(checks, 1):
        detail = f"{check.detail}\n-> {check.fix}" if check.fix and check.state != "ok" else check.detail
        made.add_row(str(number), _WORDS[check.state], check.name, detail)
    return made
