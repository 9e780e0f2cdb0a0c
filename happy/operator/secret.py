"""``happyctl secret``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from happy.backup.places import flush, new_file
from happy.keys.master_secret import FILE_NAME, kept
from happy.keys.tokens import Keys, fingerprint
from happy.keys.vault import FORMER_PATH, Vault
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool, agreed, destroys
from happy.operator.kinds import DURATION
from happy.operator.others import elsewhere, listed
from happy.operator.text import duration, some
from happy.operator.trouble import CommandFailed
from happy.settings.declaration import BadSetting
from happy.storage import secrets as storage
from happy.storage.transaction import Transaction

COUNTS = """
SELECT (SELECT count(*) FROM "Account"), (SELECT count(*) FROM "Machine"),
    (SELECT count(*) FROM "ServiceAccountToken")
"""


class _Concerned(NamedTuple):
    accounts: int
    machines: int
    tokens: int


@click.group("secret", help="The master secret, from which all keys of the server come.")
def secret() -> None:
    """Nothing of its own."""


@secret.command("rotate", cls=Tool, examples=["secret rotate", "secret rotate --grace 0 --yes"])
@click.option(
    "--grace", type=DURATION, default="30d", show_default=True, help="How long tokens of the old one count."
)
@click.option("--again", is_flag=True, help="Drop one that was made before and is not in use yet.")
@destroys
@click.pass_obj
def rotate(deployment: Deployment, grace: int, again: bool, yes: bool, dry_run: bool) -> Shown:
    """Make a new master secret, which the next start of the server takes over.

    Devices stay logged in for the time of grace. By its end each has to have logged in, or been paired, anew:
    what they were given before is refused from then on. Stored vendor tokens are sealed anew at that start.
    If the old secret is in other hands, take --grace 0: until the grace ends, it lets them in.

    Do it on one of several nodes, and bring the new secret to all before the first is restarted. The first
    takes it over. The others serve on with the old one until they are restarted, as long as the grace lasts.
    """
    others = elsewhere(deployment.nodes())
    with deployment.database() as database:
        known = database.transact(storage.known)
        old = _present(deployment, known)
        _none_waits(known, again=again)
        concerned = _Concerned._make(database.transact(_counts))
        if not agreed(_what_goes(concerned, grace), yes=yes, dry_run=dry_run):
            return Shown(_document(concerned, grace), [_what_goes(concerned, grace)] if dry_run else [])
        text = secrets.token_hex(32)
        new = Keys.derive(text)
        sealed = Vault(new.vault_master).seal(FORMER_PATH, old.vault_master.hex())
        file = _draft(deployment.config.data_dir, text)
        database.transact(lambda tx: storage.prepare(tx, new.public_key, grace, sealed))
    deployment.look_at_access()  # whereupon all nodes take tokens of the new one too
    path = _put_in_place(file, configured=bool(deployment.config.master_secret))
    document = _document(concerned, grace) | {
        "nodes": [node["name"] for node in others],
        "fingerprint": fingerprint(new.public_key),
        "former": fingerprint(old.public_key),
        "file": str(path),
    }
    made = f"Made a new master secret ({fingerprint(new.public_key)}) in {path}."
    if not others and deployment.config.database_url and path.name == FILE_NAME:
        made += " If the service has more nodes, copy it to each of them before any is restarted."
    return Shown(document, [made, _next_step(path, others, grace), _who(concerned, grace)])


def _present(deployment: Deployment, known: list[storage.KnownSecret]) -> Keys:
    """The keys of the secret in use. Raises CommandFailed unless it is at hand."""
    try:
        text = kept(deployment.config)
    except BadSetting as wrong:
        raise CommandFailed(str(wrong)) from None
    used = next((one for one in known if one.in_use), None)
    if used is None:
        raise CommandFailed("the server has not been started with this version yet; start it once")
    keys = None if text is None else Keys.derive(text)
    if keys is None or keys.public_key != used.public_key:
        ours = next((one for one in known if keys is not None and one.public_key == keys.public_key), None)
        raise CommandFailed(
            "the master secret that is set here is not the one in use "
            f"({fingerprint(used.public_key)}); {_what_to_do(ours)}"
        )
    return keys


def _what_to_do(ours: storage.KnownSecret | None) -> str:
    """What helps where another secret is set than the one in use."""
    if ours is None:
        return "set that one"
    return (
        "restart the server to take it over" if ours.since is None else "it was replaced: set the later one"
    )


def _none_waits(known: list[storage.KnownSecret], *, again: bool) -> None:
    """Raises CommandFailed if another secret was made that a node may have already."""
    waiting = next((one for one in known if one.since is None), None)
    if waiting is not None and not again:
        raise CommandFailed(
            f"a new secret ({fingerprint(waiting.public_key)}) was made before, and waits to be taken over: "
            "set it, and restart the server; --again drops it, and no node starts with it then"
        )


async def _counts(tx: Transaction) -> tuple[int, ...]:
    (row,) = await tx.rows(COUNTS)
    return tuple(row)


def _what_goes(concerned: _Concerned, grace: int) -> str:
    when = f"{duration(grace)} after the next start" if grace else "the next start"
    return (
        f"All devices of {some(concerned.accounts, 'account')}, {some(concerned.machines, 'computer')} among "
        f"them, will have to log in anew: their tokens are refused from {when} on"
    )


def _who(concerned: _Concerned, grace: int) -> str:
    return (
        f"{_what_goes(concerned, grace)}. Phones and browsers log in with their keys; on computers: "
        f"happy auth login --force. {some(concerned.tokens, 'vendor token')} will be sealed anew."
    )


def _document(concerned: _Concerned, grace: int) -> dict[str, object]:
    return {
        "graceMs": grace,
        "accounts": concerned.accounts,
        "machines": concerned.machines,
        "vendorTokens": concerned.tokens,
    }


def _draft(data_dir: Path, text: str) -> Path:
    """The secret, safe on the disk, before anything refers to it. Raises CommandFailed."""
    file = data_dir / f"{FILE_NAME}.next"
    try:
        file.unlink(missing_ok=True)
        with os.fdopen(new_file(file), "w") as opened:
            opened.write(f"{text}\n")
            opened.flush()
            os.fsync(opened.fileno())
            if os.geteuid() == 0:
                owner = data_dir.stat()
                os.fchown(opened.fileno(), owner.st_uid, owner.st_gid)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise CommandFailed(f"nothing was changed: {file}: {error.strerror}") from None
    return file


def _put_in_place(file: Path, *, configured: bool) -> Path:
    """Let the server find it, where it is not told the secret otherwise."""
    if not configured:
        file = file.replace(file.with_name(FILE_NAME))
    flush(file.parent)
    return file


def _next_step(path: Path, others: Sequence[Mapping[str, Any]], grace: int) -> str:
    configured = path.name != FILE_NAME
    if not others and not configured:
        return "Restart the server to take it over."
    if not others:
        return (
            f"Set HANDY_MASTER_SECRET, on every node, to the content of {path}, remove that file, and "
            "restart the server."
        )
    first = (
        f"Set HANDY_MASTER_SECRET to its content here and for {listed(others)}, and remove that file."
        if configured
        else f"Copy it to {listed(others)}."
    )
    rest = "let nobody log in until they are restarted too" if not grace else "serve on until then"
    return (
        f"{first} Then restart one node after the other: the first takes it over, the others {rest}, and "
        "none starts with the old one."
    )
