"""``happyctl usage``: who has how much."""

from __future__ import annotations

from typing import Any

import click

from happy.operator.accounts import files_by_account
from happy.operator.deployment import Deployment
from happy.operator.files import Held
from happy.operator.frame import Shown, Tool
from happy.operator.text import allowed, number, size, table
from happy.storage.blocking import BlockingDatabase
from happy.storage.holders import Rows, message_rows, other_rows

_COLUMNS = ("account", ">bytes", ">rows", ">files", ">of files")


@click.command("usage", cls=Tool, examples=["usage", "usage --top 5", "usage --json"])
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only those who have most.")
@click.pass_obj
def usage(deployment: Deployment, top: int | None) -> Shown:
    """Show who has how many bytes, rows and files, whoever has most first.

    Every row is measured, which takes seconds where there are millions of messages. Bytes are those of rows
    and files, without indexes.
    """
    with deployment.database() as database:
        counted = _counted(database)
        stored = files_by_account(deployment, database)
    found = [_document(id, one, stored.get(id, Held())) for id, one in counted.items()]
    found.sort(key=lambda one: (-one["bytes"], one["id"]))
    config = deployment.config
    most = {
        "accountSockets": config.account_sockets,
        "accountSessions": config.account_sessions,
        "accountAttachments": config.account_attachments,
    }
    shown = [{**one, "fileBytesAllowed": config.account_attachments} for one in found[:top]]
    return Shown(shown, [table(_COLUMNS, map(_row, shown)), f"Quotas of an account: {allowed(most)}."])


def _counted(database: BlockingDatabase) -> dict[str, Rows]:
    """The rows of each account, and their bytes."""
    found: dict[str, Rows] = {}
    for one in (*database.transact(message_rows), *database.transact(other_rows)):
        before = found.get(one.account, Rows(one.account, 0, 0))
        found[one.account] = Rows(one.account, before.rows + one.rows, before.bytes + one.bytes)
    return found


def _document(id: str, counted: Rows, stored: Held) -> dict[str, Any]:
    return {
        "id": id,
        "bytes": counted.bytes + stored.bytes,
        "rows": counted.rows,
        "files": stored.files,
        "fileBytes": stored.bytes,
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["id"],
        size(one["bytes"]),
        number(one["rows"]),
        number(one["files"]),
        size(one["fileBytes"]),
    )
