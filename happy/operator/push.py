"""``happyctl push``: whether notifications arrive."""

from __future__ import annotations

import click

from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.naming import account_named
from happy.operator.text import table
from happy.operator.trouble import FAILED, FINE

_COLUMNS = ("device", "outcome", ">ms")
_SENT = "sent"


@click.group("push")
def push() -> None:
    """Notifications of devices."""


@push.command("test", cls=Tool, examples=["push test cmf3"])
@click.argument("account", metavar="ID")
@click.pass_obj
def push_test(deployment: Deployment, account: str) -> Shown:
    """Send a notification to each device of an account, and show what came of it.

    It takes the way of all notifications, so a server has to run.
    """
    deployment.control.get("/drain")  # A server that does not run is said before anything else.
    with deployment.database() as database:
        id = account_named(database, account)
    results = deployment.control.post("/push", {"account": id})["results"]
    if not results:
        return Shown({"results": []}, ["The account has no devices to notify."], FAILED)
    rows = [(one["token"], one["outcome"], str(one["ms"])) for one in results]
    status = FINE if all(one["outcome"] == _SENT for one in results) else FAILED
    return Shown({"results": results}, [table(_COLUMNS, rows)], status)
