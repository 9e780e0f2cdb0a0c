"""What a node does for the log every few seconds.

It removes old rows, looks whether the database is still the same server, and whether the bus tells all that
it should: a node that publishes where the others do not listen would else be missed by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.storage import log

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.cluster.reading import Reading
    from happy.storage.database import Database

UPKEEP_SECONDS: Final = 10.0
"""How often this is done."""

_MISSED: Final = (
    "accounts: {count} missed what other nodes wrote, although the bus is up; "
    "redis-url, bus and cluster have to be the same everywhere"
)


class Upkeep:
    """Does it. ``went_back`` is told that the database may have gone back, as after a failover.

    ``well`` tells whether the bus is believed to tell everything, and ``missed`` is told that it did not.
    """

    def __init__(
        self,
        database: Database,
        reading: Reading,
        clock: IReactorTime,
        *,
        went_back: Callable[[], None],
        well: Callable[[], bool],
        missed: Callable[[], None],
    ) -> None:
        self._database = database
        self._reading = reading
        self._clock = clock
        self._went_back = went_back
        self._well = well
        self._missed = missed
        self._server = ""
        self._done = 0.0
        self._working: Deferred[None] | None = None
        self._tending = Trouble(Logger(), "removing old rows of the log", clock)
        self._hearing = Trouble(Logger(), "hearing all other nodes", clock)

    def tend(self) -> None:
        """Do what is due, unless that is still under way."""
        now = self._clock.seconds()
        if self._working is None and now - self._done >= UPKEEP_SECONDS:
            self._done = now
            self._working = Deferred.fromCoroutine(self._tend())
            self._working.addBoth(self._rest)

    def stop(self) -> None:
        """Leave it."""
        if self._working is not None:
            self._working.cancel()

    def _rest(self, _: object) -> None:
        self._working = None

    async def _tend(self) -> None:
        try:
            await self._tend_log()
            await self._compare()
        except CancelledError:
            pass
        except Exception as error:
            self._tending.again(describe_fault(error))
        else:
            self._tending.over()

    async def _tend_log(self) -> None:
        server = await self._database.read(log.server)
        former, self._server = self._server, server
        if former not in ("", server):
            self._went_back()
        while await self._database.transact(log.trim) == log.TRIM_ROWS:
            pass

    async def _compare(self) -> None:
        """Read what nobody said, and complain that nobody did."""
        if not self._well():
            return
        silent = await self._reading.silent()
        if not (silent and self._well()):
            return
        self._missed()
        self._hearing.again(_MISSED.format(count=len(silent)))
        for feed in silent:
            self._reading.ask(feed)
