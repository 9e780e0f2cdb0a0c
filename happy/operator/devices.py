"""``happyctl devices`` and ``happyctl revoke``: what an account is used from, and who is thrown out."""

from __future__ import annotations

from typing import Any

import click

from happy.operator.accounts import closing
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.naming import account_named
from happy.operator.text import age, table
from happy.operator.trouble import CommandFailed
from happy.storage import access
from happy.storage.access import Pairing
from happy.storage.holders import MachineSeen, machines_of

_COLUMNS = ("pairing", "paired", "seen", "machine", "")
_MACHINE_COLUMNS = ("machine", "since", "seen")


@click.command("devices", cls=Tool, examples=["devices cmf3"])
@click.argument("account", metavar="ID")
@click.pass_obj
def devices(deployment: Deployment, account: str) -> Shown:
    """List an account's terminals and machines, with when they were last seen.

    Phones and browsers log in with the account's own key, and cannot be told apart.
    """
    deployment.look_at_access()
    with deployment.database() as database:
        id = account_named(database, account)
        pairings = database.transact(lambda tx: access.pairings(tx, id))
        machines = database.transact(lambda tx: machines_of(tx, id))
    document = {
        "id": id,
        "pairings": [_pairing(one) for one in pairings],
        "machines": [_machine(one) for one in machines],
    }
    rows = [_pairing_row(one) for one in pairings]
    machine_rows = [(one.id, age(one.created_at), age(one.seen_at)) for one in machines]
    return Shown(document, [table(_COLUMNS, rows), "", table(_MACHINE_COLUMNS, machine_rows)])


@click.command("revoke", cls=Tool, examples=["revoke cmf3", "revoke cmf3 --device cmf3k2"])
@click.argument("account", metavar="ID")
@click.option("--device", metavar="ID", help="Only this pairing, or the pairings of this machine.")
@click.pass_obj
def revoke(deployment: Deployment, account: str, device: str | None) -> Shown:
    """Refuse the tokens issued so far, of an account or of one of its devices, and close their sockets.

    Whoever has the account's own key (phones, browsers, terminals paired without keys of their own) may log
    in again: what keeps a stolen phone out is `accounts disable`.
    """
    with deployment.database() as database:
        id = account_named(database, account)
        chosen = None
        if device is not None:
            deployment.look_at_access()
            pairings = database.transact(lambda tx: access.pairings(tx, id))
            chosen = _chosen(id, device, pairings)
        before = database.transact(lambda tx: access.revoke(tx, id, chosen))
    closed = deployment.look_at_access()
    whose = id if chosen is None else f"{' and '.join(chosen)} of {id}"
    text = [f"The tokens of {whose} issued so far are refused.", closing(closed)]
    return Shown({"closed": 0 if closed is None else closed.sockets, "before": before}, text)


def _chosen(account: str, device: str, pairings: list[Pairing]) -> list[str]:
    """The pairings that a device's name stands for. Raises CommandFailed."""
    found = [one.id for one in pairings if device in (one.id, one.machine)]
    found = found or [one.id for one in pairings if one.id.startswith(device)]
    machines = {one.machine for one in pairings if one.id in found}
    if not found:
        raise CommandFailed(
            f"no pairing of {account} is known as {device!r}; happyctl devices lists them, and other tokens "
            f"cannot be told apart: happyctl revoke {account} refuses all of the account"
        )
    if len(found) > 1 and device not in machines:
        raise CommandFailed(f"several pairings begin with {device!r}, such as {found[0]} and {found[1]}")
    return found


def _pairing(one: Pairing) -> dict[str, Any]:
    return {
        "id": one.id,
        "createdAt": one.created_at,
        "seenAt": one.seen_at,
        "machine": one.machine,
        "revoked": one.revoked_at is not None,
    }


def _pairing_row(one: Pairing) -> tuple[str, ...]:
    state = "revoked" if one.revoked_at is not None else ""
    return one.id, age(one.created_at), age(one.seen_at), one.machine or "", state


def _machine(one: MachineSeen) -> dict[str, Any]:
    return {"id": one.id, "createdAt": one.created_at, "seenAt": one.seen_at, "active": one.active}
