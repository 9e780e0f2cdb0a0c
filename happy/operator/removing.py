"""Removal of an account, which may be interrupted at any time and done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from happy.base.errors import QueryFailed
from happy.operator import files
from happy.operator.files import Held
from happy.operator.trouble import CommandFailed
from happy.storage import removal
from happy.storage.holders import sessions_of

if TYPE_CHECKING:
    from happy.settings.config import Config
    from happy.storage.blocking import BlockingDatabase

_ATTEMPTS: Final = 5
"""For a client that was writing when its token was revoked, and is heard no more a second later."""

_FOREIGN_KEY: Final = "23503"


class Removal(NamedTuple):
    """What was removed."""

    sessions: int = 0
    messages: int = 0
    files: int = 0
    bytes: int = 0


def remove(config: Config, database: BlockingDatabase, account: str) -> Removal:
    """Remove everything of an account whose tokens are refused already; the account itself goes last."""
    gone = Removal()
    for _ in range(_ATTEMPTS):
        for session in database.transact(lambda tx: sessions_of(tx, account)):
            gone = _add(gone, _remove_session(config, database, session))
        pictures = files.remove_below(config, f"public/users/{account}/")
        gone = _add(gone, Removal(files=pictures.files, bytes=pictures.bytes))
        try:
            database.transact(lambda tx: removal.remove_account(tx, account))
        except QueryFailed as failed:
            if failed.sqlstate != _FOREIGN_KEY:
                raise
        else:
            return gone
    raise CommandFailed(f"somebody still writes for {account}; do it again")


def _remove_session(config: Config, database: BlockingDatabase, session: str) -> Removal:
    messages = 0
    while some := database.transact(lambda tx: removal.remove_messages(tx, session)):
        messages += some
    try:
        database.transact(lambda tx: removal.remove_session(tx, session))
    except QueryFailed as failed:
        if failed.sqlstate != _FOREIGN_KEY:
            raise
        return Removal(messages=messages)  # Something came meanwhile: the next attempt has it.
    stored: Held = files.remove_below(config, f"sessions/{session}/")
    return Removal(1, messages, stored.files, stored.bytes)


def _add(one: Removal, other: Removal) -> Removal:
    return Removal(*(a + b for a, b in zip(one, other, strict=True)))
