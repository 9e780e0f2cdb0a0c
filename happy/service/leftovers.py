"""What is left of deleted sessions, which nobody sees any more.

It goes slice by slice, and the database is left to others in between for longer than a slice took.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.task import deferLater

from happy.base.errors import FOREIGN_KEY, QueryFailed
from happy.storage import removal, retention

if TYPE_CHECKING:
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

T = TypeVar("T")

REST: Final = 4
"""How often the time that a slice took passes before the next one begins."""


class Leftovers:
    """Removes them. It may be interrupted at any time, and several may do it at a time."""

    def __init__(self, database: Database, clock: Any) -> None:
        self._database = database
        self._clock = clock

    async def remove(self) -> int:
        """Remove all that there are now; how many sessions. Raises what the database does."""
        sessions = await self._database.read(retention.removed_sessions)
        for session in sessions:
            await self._remove(session)
        if sessions:
            await self._unless_referred_to(retention.forget_removed)
        return len(sessions)

    async def _remove(self, session: str) -> None:
        some = removal.Slice(1, 0)
        while some.messages:
            work = partial(removal.remove_messages, session=session, first=some.following)
            some = await self._slice(work)
        for kind in range(len(removal.OF_SESSION)):
            while await self._slice(partial(removal.remove_of_session, session=session, kind=kind)):
                pass
        await self._unless_referred_to(partial(removal.remove_session, session=session))

    async def _slice(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        begun = self._clock.seconds()
        found = await self._database.transact(work, owner=retention.REMOVED, aside=True)
        await deferLater(self._clock, REST * (self._clock.seconds() - begun))
        return found

    async def _unless_referred_to(self, work: Callable[[Transaction], Awaitable[bool]]) -> None:
        """Remove a row, unless something came meanwhile that refers to it: then the next round will."""
        try:
            await self._slice(work)
        except QueryFailed as failed:
            if failed.sqlstate != FOREIGN_KEY:
                raise
