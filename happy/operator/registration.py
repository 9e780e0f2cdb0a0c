"""``happyctl registration``: who may make an account."""

from __future__ import annotations

import time
from typing import Any

import click

from happy.operator.deployment import Deployment
from happy.operator.frame import Family, Shown, Tool
from happy.operator.kinds import DURATION
from happy.operator.text import age, duration, number, some, table
from happy.operator.trouble import CommandFailed, Misused
from happy.storage import registration as stored
from happy.storage.blocking import BlockingDatabase
from happy.storage.registration import DIGITS, InForce, OpenOrClosed, RefusedKey

_COLUMNS = ("fingerprint", ">refused", "last")


@click.group("registration", cls=Family, default="show")
def registration() -> None:
    """Show or say who may make an account.

    The setting `registration` holds as long as nothing else is said here. Accounts that there are log in in
    any case, and let further devices in.
    """


@registration.command("show", cls=Tool, examples=["registration"])
@click.pass_obj
def show_registration(deployment: Deployment) -> Shown:
    """Show who may, and which keys were refused in the last hour."""
    with deployment.database() as database:
        return _shown(deployment, database)


def _for_a_while(command: Any) -> Any:
    """The options that make something hold for a while."""
    command = click.option(
        "--accounts", type=click.IntRange(1, 1_000_000), help="Until so many accounts were made."
    )(command)
    return click.option("--for", "lasting", type=DURATION, help="For so long, as 15m.")(command)


@registration.command(
    "open", cls=Tool, examples=["registration open --for 15m --accounts 1", "registration open"]
)
@_for_a_while
@click.pass_obj
def open_registration(deployment: Deployment, lasting: int | None, accounts: int | None) -> Shown:
    """Let everybody make an account: for good, for a time, or for a number of accounts."""
    return _say(deployment, "open", lasting, accounts)


@registration.command("closed", cls=Tool, examples=["registration closed", "registration closed --for 1h"])
@click.option("--for", "lasting", type=DURATION, help="For so long, as 15m.")
@click.pass_obj
def close_registration(deployment: Deployment, lasting: int | None) -> Shown:
    """Let nobody make an account, for good or for a time."""
    return _say(deployment, "closed", lasting, None)


@registration.command("admit", cls=Tool, examples=["registration admit 3f9c0a1b2c3d4e5f"])
@click.argument("fingerprint")
@click.pass_obj
def admit(deployment: Deployment, fingerprint: str) -> Shown:
    """Let one key make an account, once, although registration is closed.

    The fingerprint is among those that were refused, and may be shortened to its beginning.
    """
    _must_be_hexadecimal(fingerprint)
    with deployment.database() as database:
        whole = _whole(fingerprint.lower(), database.transact(stored.refused))
        database.transact(lambda tx: stored.admit(tx, whole))
        shown = _shown(deployment, database)
    document = {**shown.document, "admitted": whole}
    return Shown(document, [f"{whole} may make an account when it logs in next.", *shown.text])


def _say(deployment: Deployment, state: OpenOrClosed, lasting: int | None, accounts: int | None) -> Shown:
    if lasting == 0:
        raise Misused("--for needs a time above 0")
    with deployment.database() as database:
        if lasting is None and accounts is None:
            database.transact(lambda tx: stored.say(tx, state))
        else:
            database.transact(lambda tx: stored.say_for_now(tx, state, lasting, accounts))
        return _shown(deployment, database)


def _shown(deployment: Deployment, database: BlockingDatabase) -> Shown:
    deployment.look_at_access()  # which has the server store whom it has refused
    now = database.transact(lambda tx: stored.current(tx, deployment.config.registration))
    refused = database.transact(stored.refused)
    document = {
        "registration": now.state,
        "until": now.until,
        "left": now.left,
        "refused": [
            {"fingerprint": one.fingerprint, "count": one.times, "lastAt": one.last_at} for one in refused
        ],
    }
    text: list[Any] = [_described(now)]
    if refused:
        rows = [(one.fingerprint, number(one.times), age(one.last_at)) for one in refused]
        text += ["", "Keys that were refused in the last hour:", table(_COLUMNS, rows)]
    return Shown(document, text)


def _described(now: InForce) -> str:
    parts = [f"Registration is {now.state}"]
    if now.until is not None:
        parts.append(f"for another {duration(now.until - time.time() * 1000)}")
    if now.left is not None:
        parts.append(f"for {some(now.left, 'more account')}")
    return ", ".join(parts) + "."


def _must_be_hexadecimal(fingerprint: str) -> None:
    if not 1 <= len(fingerprint) <= DIGITS or not set(fingerprint.lower()) <= set("0123456789abcdef"):
        raise Misused(f"{fingerprint!r} is no fingerprint, which has {DIGITS} hexadecimal digits")


def _whole(beginning: str, refused: list[RefusedKey]) -> str:
    """The fingerprint that is meant. Raises CommandFailed."""
    if len(beginning) == DIGITS:
        return beginning
    found = [one.fingerprint for one in refused if one.fingerprint.startswith(beginning)]
    if len(found) != 1:
        what = "several refused keys begin" if found else "no key that was refused in the last hour begins"
        raise CommandFailed(f"{what} with {beginning!r}; happyctl registration lists them")
    return found[0]
