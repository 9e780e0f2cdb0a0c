"""Finding an account by the beginning of its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from happy.operator.trouble import CommandFailed
from happy.storage.holders import beginning_with

if TYPE_CHECKING:
    from happy.storage.blocking import BlockingDatabase

SHORTEST = 4
"""Characters that name an account at least: fewer are more likely a slip."""


def account_named(database: BlockingDatabase, prefix: str) -> str:
    """The id of the one account that begins so. Raises CommandFailed."""
    found = database.transact(lambda tx: beginning_with(tx, prefix)) if _is_plausible(prefix) else []
    if prefix in found:
        return prefix
    if not found:
        raise CommandFailed(f"there is no account {prefix!r}; happyctl accounts lists them")
    if len(prefix) < SHORTEST:
        raise CommandFailed(f"{prefix!r} is too short for the beginning of an id; give {SHORTEST} characters")
    if len(found) > 1:
        raise CommandFailed(f"several accounts begin with {prefix!r}, such as {found[0]} and {found[1]}")
    return found[0]


def _is_plausible(prefix: str) -> bool:
    return bool(prefix) and "\0" not in prefix and prefix.isprintable()
