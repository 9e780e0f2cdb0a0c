"""What is thrown away in time: pairing requests that nobody waits for, and what deleted sessions left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from happy.base.rounds import Rounds
from happy.service.leftovers import Leftovers
from happy.storage import auth_requests, uploads

if TYPE_CHECKING:
    from happy.capabilities.server import Server

HOUR = 3600.0
MINUTE = 60.0


class IsFirst(Protocol):
    """Whether one does what one of all nodes has to do, or one of those with the same files."""

    def __call__(self, *, of_files: bool = False) -> bool: ...


_log = Logger()


class Housekeeping:
    """Cleans up once an hour, the first time an hour after the start. No job waits for another one.

    What deleted sessions left in the database is looked for every minute.
    """

    def __init__(self, server: Server, is_first: IsFirst = lambda *, of_files=False: True) -> None:
        """``is_first`` tells whether it is this one of several nodes that does it."""
        self._server = server
        self._is_first = is_first
        self._leftovers = Leftovers(server.database, server.clock)
        jobs = (
            ("cleaning up pairing requests", self._purge_requests, HOUR),
            ("cleaning up attachment folders", self._sweep_attachments, HOUR),
            ("removing deleted sessions", self._remove_sessions, MINUTE),
        )
        self._jobs = [
            Rounds(what, job, server.clock, seconds=seconds, patience=HOUR) for what, job, seconds in jobs
        ]

    def start(self) -> None:
        """Begin to wait for the first round."""
        for job in self._jobs:
            job.start()

    def stop(self) -> None:
        """No further rounds, nor the rest of one under way."""
        for job in self._jobs:
            job.stop()

    async def _purge_requests(self) -> None:
        if not self._is_first():
            return
        purged = await self._server.database.transact(auth_requests.purge)
        _log.debug("Cleaned up {count} pairing requests", count=purged.all)
        if purged.unanswered:
            text = "{count:,} pairings expired, since nobody answered them"
            _log.info(text, event="pairing-expired", count=purged.unanswered)

    async def _sweep_attachments(self) -> None:
        if not self._is_first(of_files=True):
            return
        count = await self._server.objects.sweep(self._existing)
        _log.debug("Cleaned up {count} attachment folders", count=count)

    async def _remove_sessions(self) -> None:
        if self._is_first() and (count := await self._leftovers.remove()):
            _log.debug("Removed the rest of {count} deleted sessions", count=count)

    async def _existing(self, sessions: Sequence[str]) -> set[str]:
        return await self._server.database.read(lambda tx: uploads.sessions_that_exist(tx, sessions))
