"""Whether the master secret is the one that the data belongs to.

With another one every token would be refused, and no sealed credential could be opened. So the database
remembers by a public key which secret it was used with (:mod:`happy.storage.secrets`). A start with another
is refused, unless that one was prepared by ``happyctl secret rotate``, or the operator says that it is meant.

Nodes take a prepared one over as they are started with it, one after the other. Tokens of either secret count
at all of them meanwhile: of the later one the public key is known as soon as it is prepared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from twisted.logger import Logger

from happy.base.errors import StartupError
from happy.keys.tokens import Keys, OtherKey, fingerprint
from happy.keys.vault import FORMER_PATH, Unsealable, Vault, github_path, vendor_path
from happy.storage import secrets as storage
from happy.storage.secrets import KnownSecret, SealedRow

if TYPE_CHECKING:
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

_log = Logger()


class Counting(NamedTuple):
    """What counts besides this process's secret, and until when that one does (epoch s): see
    :meth:`happy.keys.tokens.Tokens.learn`. ``used`` is the public key of the one in use."""

    others: list[OtherKey]
    until: float
    used: bytes


def counting(known: Sequence[KnownSecret], ours: bytes, now: float) -> Counting:
    """What counts at ``now`` (epoch ms), of all that are known, for whoever has the public key ``ours``."""
    ends = {one.public_key: inf if one.until is None else one.until / 1000 for one in known}
    used = next((one.public_key for one in known if one.in_use), ours)
    until = ends.pop(ours, inf)
    return Counting([OtherKey(key, end) for key, end in ends.items() if end > now / 1000], until, used)


async def recognise(database: Database, keys: Keys, accept_new: bool) -> list[OtherKey]:
    """The other keys whose tokens count, once it is certain that this secret is the right one.

    A database that remembers none takes this one for the first. Raises StartupError.
    """
    return await database.transact(lambda tx: _recognise(tx, keys, accept_new), aside=True)


async def refuse_stranger(database: Database, keys: Keys) -> None:
    """Raise StartupError for a secret that :func:`recognise` would refuse; nothing is changed."""
    if await database.read(storage.recorded):
        used, same = _found(await database.read(storage.known), keys)
        if used is not None and same is not used and (same is None or same.since is not None):
            _refuse(keys, used, same, accept_new=False)


def _found(known: Sequence[KnownSecret], keys: Keys) -> tuple[KnownSecret | None, KnownSecret | None]:
    """The secret in use, and the one that the keys come from."""
    used = next((one for one in known if one.in_use), None)
    return used, next((one for one in known if one.public_key == keys.public_key), None)


async def _recognise(tx: Transaction, keys: Keys, accept_new: bool) -> list[OtherKey]:
    used, same = _found(await storage.known(tx, alone=True), keys)
    if used is None:
        if await storage.anybody(tx):
            _log.info(
                "the database does not say which master secret it belongs to; {ours} is taken for it",
                ours=fingerprint(keys.public_key),
            )
        await storage.use(tx, keys.public_key, tx.now)
    elif same is not None and same.since is None:
        await _follow(tx, keys, used, same)
    elif same is not used:
        _refuse(keys, used, same, accept_new)
        await storage.use(tx, keys.public_key, tx.now)
    return counting(await storage.known(tx), keys.public_key, tx.now).others


def _refuse(keys: Keys, used: KnownSecret, same: KnownSecret | None, accept_new: bool) -> None:
    """Raises StartupError, or logs what it means that the secret is another one."""
    ours, theirs = fingerprint(keys.public_key), fingerprint(used.public_key)
    if accept_new:
        _log.warn(
            "the master secret is another one ({ours}, before {theirs}): all have to log in again, and "
            "stored vendor tokens cannot be opened",
            ours=ours,
            theirs=theirs,
        )
        return
    if same is None:
        raise StartupError(
            f"master-secret: this one ({ours}) is not the one that the database was used with ({theirs}); "
            "restore that one, or give --accept-new-secret once, which logs everybody out"
        )
    since = "" if used.since is None else f" on {datetime.fromtimestamp(used.since / 1000, UTC):%Y-%m-%d}"
    raise StartupError(
        f"master-secret: this one ({ours}) was replaced by a later one ({theirs}){since}; set that one here "
        "too: the node where it was made has it. If it is lost, --accept-new-secret once logs everybody out"
    )


async def _follow(tx: Transaction, keys: Keys, used: KnownSecret, same: KnownSecret) -> None:
    """Take over from the secret that this one was prepared to follow."""
    await storage.use(tx, keys.public_key, tx.now + (same.grace or 0))
    vault = Vault(keys.vault_master)
    former = Vault(bytes.fromhex(vault.open(FORMER_PATH, same.former or b"")))
    count, left = await reseal_all(tx, former, vault)
    _log.info(
        "the master secret is {ours} from now on, after {theirs}; {count} stored vendor tokens were sealed "
        "anew, {left} could not be opened",
        ours=fingerprint(keys.public_key),
        theirs=fingerprint(used.public_key),
        count=count,
        left=left,
    )


async def reseal_all(tx: Transaction, former: Vault, vault: Vault) -> tuple[int, int]:
    """Seal anew what ``former`` has sealed; how many were, and how many stay since it cannot open them."""
    count = left = 0
    for listed in (storage.sealed_for_vendors, storage.sealed_of_github):
        async for row in _each(tx, listed):
            path = github_path(row.account) if row.vendor is None else vendor_path(row.account, row.vendor)
            try:
                sealed = vault.seal(path, former.open(path, row.sealed))
            except Unsealable:
                left += 1
            else:
                await storage.reseal(tx, row, sealed)
                count += 1
    return count, left


async def _each(
    tx: Transaction, listed: Callable[[Transaction, str], Awaitable[Sequence[SealedRow]]]
) -> AsyncIterator[SealedRow]:
    rows = await listed(tx, "")
    while rows:
        for row in rows:
            yield row
        rows = await listed(tx, rows[-1].id)
