"""What is measured at intervals: how long the reactor hears nobody, how much there is, and room for more."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from happy.base.rounds import Rounds
from happy.service.turns import LONG

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from happy.metrics import Metrics

T = TypeVar("T")

COUNT_INTERVAL: Final = 60.0
LAG_INTERVAL: Final = 0.25
STANDSTILL: Final = 1.0
"""Seconds of one turn of the reactor from which on it is said in the log."""

_log = Logger()


class Stalls:
    """How long the reactor hears nobody, since it is busy with something.

    Where every turn is timed (:func:`happy.service.turns.poll_directly`), :meth:`took` is told of the long
    ones. Where that cannot be, a timer tells after :meth:`start` how late it is, which misses many.
    """

    def __init__(self, metrics: Metrics, clock: IReactorTime) -> None:
        self._metrics = metrics
        self._clock = clock
        self._timer: IDelayedCall | None = None

    def took(self, seconds: float) -> None:
        """A turn took so long."""
        self._metrics.happy_reactor_stall_seconds.observe(seconds)
        if seconds >= STANDSTILL:
            _log.warn("Nobody was heard for {seconds:.1f} s, which one turn took", seconds=seconds)

    def start(self) -> None:
        """Look from now on."""
        self._timer = self._clock.callLater(LAG_INTERVAL, self._look, self._clock.seconds() + LAG_INTERVAL)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, due: float) -> None:
        late = self._clock.seconds() - due
        if late >= LONG:
            self.took(late)
        self.start()


class Gauges:
    """Measures what is not counted as it happens.

    ``count_records`` gives estimated rows by table name (accounts, sessions, messages, machines),
    ``free_bytes`` the room for data. They are asked once a minute, but for an answer that is outstanding five
    minutes are waited.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: IReactorTime,
        count_records: Callable[[], Awaitable[Mapping[str, int]]],
        free_bytes: Callable[[], Awaitable[int]],
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._count_records = count_records
        self._free_bytes = free_bytes
        self._counting = Rounds(
            "counting the records of the database",
            self._record,
            clock,
            seconds=COUNT_INTERVAL,
            patience=5 * COUNT_INTERVAL,
        )

    def start(self) -> None:
        """Measure now and from now on."""
        self._counting.start(at_once=True)

    def stop(self) -> None:
        """Measure no more."""
        self._counting.stop()

    async def _record(self) -> None:
        records = await self._asked("the records of the database", self._count_records)
        for table, number in (records or {}).items():
            self._metrics.database_records_total.labels(table).set(number)
        free = await self._asked("the room for data", self._free_bytes)
        if free is not None:
            self._metrics.happy_data_free_bytes.set(free)

    async def _asked(self, what: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await ask()
        except CancelledError:
            raise  # The server stops.
        except Exception as error:  # the next minute may be better; the error itself can name the database
            _log.warn("{what} could not be measured: {error}", what=what, error=type(error).__name__)
            return None


def free_bytes(folder: Path) -> int:
    """The room that there is in a folder, or where it would be made. Blocks where the file system does."""
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize
