"""``happyctl accounts``: what there is of whom, and whom the server lets in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from happy.operator import files
from happy.operator.deployment import Closed, Deployment
from happy.operator.files import Held
from happy.operator.frame import Family, Shown, Tool, agreed, destroys
from happy.operator.moving import export, import_account
from happy.operator.naming import account_named
from happy.operator.others import files_elsewhere, listed
from happy.operator.removing import remove
from happy.operator.text import age, facts, number, size, some, table
from happy.operator.trouble import FAILED, FINE, CommandFailed
from happy.storage import access
from happy.storage.blocking import BlockingDatabase
from happy.storage.holders import Holder, holder, holders, owners, sessions_of

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

_COLUMNS = ("id", "created", "seen", ">devices", ">sessions", ">messages", ">bytes", "")


@click.group("accounts", cls=Family, default="list")
def accounts() -> None:
    """Show who has an account, and keep somebody out.

    An id may be shortened to its beginning.
    """


@accounts.command("list", cls=Tool, examples=["accounts", "accounts list --json"])
@click.pass_obj
def list_accounts(deployment: Deployment) -> Shown:
    """List all accounts, the oldest first."""
    with deployment.database() as database:
        found = _accounts(deployment, database)
    rows = [_row(one) for one in found]
    return Shown(found, [table(_COLUMNS, rows), some(len(found), "account")])


@accounts.command("show", cls=Tool, examples=["accounts show cmf3"])
@click.argument("account", metavar="ID")
@click.pass_obj
def show_account(deployment: Deployment, account: str) -> Shown:
    """Show one account."""
    with deployment.database() as database:
        id = account_named(database, account)
        found = _account(deployment, database, id)
    labels = ("id", "created", "seen", "devices", "sessions", "messages", "bytes", "state")
    return Shown(found, [facts(zip(labels, _row(found, whole=True), strict=True))])


@accounts.command("disable", cls=Tool, examples=["accounts disable cmf3"])
@click.argument("account", metavar="ID")
@click.pass_obj
def disable(deployment: Deployment, account: str) -> Shown:
    """Refuse an account's tokens and logins, and close its sockets."""
    with deployment.database() as database:
        id = account_named(database, account)
        database.transact(lambda tx: access.disable(tx, id))
    closed = deployment.look_at_access()
    document = {"id": id, "disabled": True, "closed": None if closed is None else closed.sockets}
    return Shown(document, [f"{id} is disabled.", closing(closed)])


@accounts.command("enable", cls=Tool, examples=["accounts enable cmf3"])
@click.argument("account", metavar="ID")
@click.pass_obj
def enable(deployment: Deployment, account: str) -> Shown:
    """Let a disabled account in again; its tokens work as before."""
    with deployment.database() as database:
        id = account_named(database, account)
        database.transact(lambda tx: access.enable(tx, id))
    deployment.look_at_access()
    return Shown({"id": id, "disabled": False}, [f"{id} is let in again."])


@accounts.command(
    "delete", cls=Tool, examples=["accounts delete cmf3 --dry-run", "accounts delete cmf3 --yes"]
)
@destroys
@click.argument("account", metavar="ID")
@click.pass_obj
def delete(deployment: Deployment, account: str, yes: bool, dry_run: bool) -> Shown:
    """Delete an account with everything that it has, files too.

    It is disabled first, and stays so if this is interrupted; do it again then. Its tokens are refused from
    then on. Its keys may make a new account afterwards, if registration lets them.
    """
    with deployment.database() as database:
        id = account_named(database, account)
        found = _account(deployment, database, id)
        what = (
            f"{id} goes with {some(found['sessions'], 'session')}, {some(found['messages'], 'message')}, "
            "its files"
        )
        if not agreed(what, yes=yes, dry_run=dry_run):
            return Shown({"id": id, "wouldDelete": found}, [f"{what}. Nothing was done."])
        database.transact(lambda tx: _keep_out(tx, id))
        deployment.look_at_access()
        missing = files_elsewhere(deployment)
        gone = remove(deployment.config, database, id)
    deployment.look_at_access()
    text = [
        f"{id} is gone: {some(gone.sessions, 'session')}, {some(gone.messages, 'message')}, "
        f"{some(gone.files, 'file')} of {size(gone.bytes)}."
    ]
    document: dict[str, Any] = {"id": id, "deleted": gone._asdict()}
    if missing:
        document["filesElsewhere"] = [node["name"] for node in missing]
        text.append(f"Its files at {listed(missing)} stay until happyctl cleanup is done there.")
    return Shown(document, text, FAILED if missing else FINE)


async def _keep_out(tx: Transaction, account: str) -> None:
    """Let nobody see what is going, nor add to it, with a token or with the key."""
    await access.revoke(tx, account)
    await access.disable(tx, account)


accounts.add_command(export)
accounts.add_command(import_account)


def closing(closed: Closed | None) -> str:
    """What is said of sockets that had to be closed."""
    if closed is None:
        return "No server runs here; others close their sockets within a second."
    if closed.silent:
        silent = " and ".join(closed.silent)
        return f"Sockets closed: {number(closed.sockets)}. No answer from {silent}: there within a second."
    return f"Sockets closed: {number(closed.sockets)}."


def _accounts(deployment: Deployment, database: BlockingDatabase) -> list[dict[str, Any]]:
    """What there is of whom, files included."""
    stored = files_by_account(deployment, database)
    return [_document(one, stored.get(one.id, Held())) for one in database.transact(holders)]


def _account(deployment: Deployment, database: BlockingDatabase, id: str) -> dict[str, Any]:
    """What there is of one account, without looking at those of others. Raises CommandFailed."""
    found = database.transact(lambda tx: holder(tx, id))
    if found is None:
        raise CommandFailed(f"{id} is gone meanwhile")
    stored = Held()
    for session in database.transact(lambda tx: sessions_of(tx, id)):
        stored += files.held(files.of_session(deployment.config, session))
    return _document(found, stored)


def files_by_account(deployment: Deployment, database: BlockingDatabase) -> dict[str, Held]:
    """What each account has of attachments, as far as they are here."""
    sessions = files.by_session(deployment.config)
    owned = database.transact(lambda tx: owners(tx, list(sessions)))
    found: dict[str, Held] = {}
    for session, account in owned.items():
        found[account] = found.get(account, Held()) + sessions[session]
    return found


def _document(one: Holder, stored: Held) -> dict[str, Any]:
    return {
        "id": one.id,
        "createdAt": one.created_at,
        "seenAt": one.seen_at,
        "devices": one.devices,
        "sessions": one.sessions,
        "messages": int(one.messages),
        "bytes": one.bytes + stored.bytes,
        "disabled": one.disabled,
    }


def _row(one: dict[str, Any], *, whole: bool = False) -> tuple[str, ...]:
    return (
        one["id"],
        age(one["createdAt"]),
        age(one["seenAt"]),
        number(one["devices"]),
        number(one["sessions"]),
        number(one["messages"]),
        size(one["bytes"]),
        "disabled" if one["disabled"] else "let in" if whole else "",
    )
