"""What is thrown away in time: pairing requests that nobody waits for, attachments of deleted sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from happy.faults import describe_fault
from happy.storage import auth_requests, uploads

if TYPE_CHECKING:
    from happy.server import Server

HOUR = 3600.0

_log = Logger()


class Housekeeping:
    """Cleans up once an hour, the first time an hour after the start."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = LoopingCall(self._round)
        self._loop.clock = server.clock

    def start(self) -> None:
        """Begin to wait for the first round."""
        self._loop.start(HOUR, now=False)

    def stop(self) -> None:
        """No further rounds; one under way ends with the parts that it uses."""
        self._loop.stop()

    def _round(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._clean_up())

    async def _clean_up(self) -> None:
        await self._job("pairing requests", self._purge_requests)
        await self._job("attachment folders", self._sweep_attachments)

    async def _job(self, what: str, job: Callable[[], Awaitable[int]]) -> None:
        try:
            count = await job()
        except Exception as error:
            _log.error("Cleaning up {what} failed: {fault}", what=what, fault=describe_fault(error))
        else:
            _log.debug("Cleaned up {count} {what}", count=count, what=what)

    async def _purge_requests(self) -> int:
        return await self._server.database.transact(auth_requests.purge)

    async def _sweep_attachments(self) -> int:
        return await self._server.objects.sweep(self._existing)

    async def _existing(self, sessions: Sequence[str]) -> set[str]:
        return await self._server.database.read(lambda tx: uploads.sessions_that_exist(tx, sessions))
