"""Removal of sessions and accounts, which may be interrupted at any time and done again.

It goes slice by slice (:mod:`happy.storage.removal`), and leaves the database to others between two slices
for longer than one took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from happy.base.errors import FOREIGN_KEY, QueryFailed
from happy.operator import files
from happy.operator.trouble import CommandFailed
from happy.storage import removal
from happy.storage.holders import sessions_of

if TYPE_CHECKING:
    from happy.settings.config import Config
    from happy.storage.blocking import BlockingDatabase
    from happy.storage.transaction import Transaction

T = TypeVar("T")

_ATTEMPTS: Final = 5
"""For a client that was writing when its token was revoked, and is heard no more a second later."""

_REST: Final = 4
"""How often the time that a slice took passes before the next one begins."""


class Removal(NamedTuple):
    """What was removed."""

    sessions: int = 0
    messages: int = 0
    files: int = 0
    bytes: int = 0


def remove(config: Config, database: BlockingDatabase, account: str) -> Removal:
    """Remove everything of an account that is kept out already; the account itself goes last."""
    gone = Removal()
    for _ in range(_ATTEMPTS):
        for session in database.transact(lambda tx: sessions_of(tx, account)):
            gone = _add(gone, remove_session(config, database, session))
        pictures = files.remove_below(config, f"public/users/{account}/")
        gone = _add(gone, Removal(files=pictures.files, bytes=pictures.bytes))
        for kind in range(len(removal.OF_ACCOUNT)):
            remove_some = partial(removal.remove_of_account, account=account, kind=kind)
            while taking_turns(database, remove_some):
                pass
        if nothing_refers(database, partial(removal.remove_account, account=account)):
            return gone
    raise CommandFailed(f"somebody still writes for {account}; do it again")


def remove_session(
    config: Config, database: BlockingDatabase, session: str, told: Callable[[int], object] = lambda _: None
) -> Removal:
    """Remove what nobody should write to any more: files first, which nobody would find without the session.

    ``told`` is called with how many messages more are gone.
    """
    stored = files.remove_below(config, f"sessions/{session}/")
    some, messages = removal.Slice(1, 0), 0
    while some.messages:
        work = partial(removal.remove_messages, session=session, first=some.following)
        some = taking_turns(database, work)
        messages += some.messages
        told(some.messages)
    for kind in range(len(removal.OF_SESSION)):
        while taking_turns(database, partial(removal.remove_of_session, session=session, kind=kind)):
            pass
    gone = nothing_refers(database, partial(removal.remove_session, session=session))
    return Removal(int(gone), messages, stored.files, stored.bytes)


def taking_turns(database: BlockingDatabase, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
    """Do it, then leave the database to others for a while."""
    begun = time.monotonic()
    found = database.transact(work)
    time.sleep(_REST * (time.monotonic() - begun))
    return found


def nothing_refers(
    database: BlockingDatabase, work: Callable[[Transaction], Coroutine[Any, Any, bool]]
) -> bool:
    """What came of removing a row; False if meanwhile something came that refers to it: do it again."""
    try:
        return database.transact(work)
    except QueryFailed as failed:
        if failed.sqlstate != FOREIGN_KEY:
            raise
        return False


def _add(one: Removal, other: Removal) -> Removal:
    return Removal(*(a + b for a, b in zip(one, other, strict=True)))
