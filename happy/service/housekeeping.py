"""What is thrown away in time: pairing requests that nobody waits for, attachments of deleted sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger

from happy.base.rounds import Rounds
from happy.storage import auth_requests, uploads

if TYPE_CHECKING:
    from happy.capabilities.server import Server

HOUR = 3600.0

_log = Logger()


class Housekeeping:
    """Cleans up once an hour, the first time an hour after the start. No job waits for another one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        jobs = (
            ("cleaning up pairing requests", self._purge_requests),
            ("cleaning up attachment folders", self._sweep_attachments),
        )
        self._jobs = [Rounds(what, job, server.clock, seconds=HOUR, patience=HOUR) for what, job in jobs]

    def start(self) -> None:
        """Begin to wait for the first round."""
        for job in self._jobs:
            job.start()

    def stop(self) -> None:
        """No further rounds, nor the rest of one under way."""
        for job in self._jobs:
            job.stop()

    async def _purge_requests(self) -> None:
        purged = await self._server.database.transact(auth_requests.purge)
        _log.debug("Cleaned up {count} pairing requests", count=purged.all)
        if purged.unanswered:
            text = "{count:,} pairings expired, since nobody answered them"
            _log.info(text, event="pairing-expired", count=purged.unanswered)

    async def _sweep_attachments(self) -> None:
        count = await self._server.objects.sweep(self._existing)
        _log.debug("Cleaned up {count} attachment folders", count=count)

    async def _existing(self, sessions: Sequence[str]) -> set[str]:
        return await self._server.database.read(lambda tx: uploads.sessions_that_exist(tx, sessions))
