"""Whether the server should be sent clients, and if not, why.

The reasons are words for programs: ``database`` (PostgreSQL does not answer), ``disk`` (there is no room for
what clients send, here or at the database), ``draining`` (it is being emptied, or stops) and ``secret``
(other nodes have another master secret, and tokens of this one's count no more).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from happy.base.errors import ConnectionLost, DatabaseDown
from happy.base.redaction import describe_fault
from happy.base.rounds import Rounds
from happy.base.waiting import relayed, within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.metrics import Metrics
    from happy.storage.database import Database

REASONS: Final = ("database", "disk", "draining", "secret")

MIB: Final = 1024 * 1024

LEAST_ROOM: Final = 32 * MIB
"""Bytes on the data folder's file system below which it counts as full: two segments of PostgreSQL's log."""

ROOM_AGAIN: Final = 48 * MIB
"""Bytes from which on a file system that was full is not any more."""

PATIENCE: Final = 3.0
"""Seconds that the database, or a file system, has for an answer."""

FRESH: Final = 1.0
"""Seconds for which an answer is good: whoever asks again and again costs nothing."""

WATCH_SECONDS: Final = 5.0
REFUSED_SECONDS: Final = 30.0
"""Seconds after a write that found no room at the database in which it counts as full."""


class Readiness:
    """Finds the reasons against sending clients here, when asked and every few seconds.

    ``free_bytes`` tells the room for data, ``void`` whether tokens of the master secret count no more. What
    changes is said in the log, once.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        free_bytes: Callable[[], Awaitable[int]],
        void: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._database = database
        self._free_bytes = free_bytes
        self._void = void
        self.draining = False
        """Whether the server is being emptied. Set it to have new clients sent elsewhere."""
        self._stopped = False
        self._lost_at: float | None = None
        self._full: frozenset[str] = frozenset()
        self._looked_at: float | None = None
        self._looking: Deferred[None] | None = None
        self._watching = Rounds(
            "looking whether the server is ready", self._watch, clock, seconds=WATCH_SECONDS, patience=60.0
        )
        self.free: int | None = None
        """Bytes that there is room for, as of the last look; None while the file system does not tell."""
        self._unmeasured = ""

    def start(self) -> None:
        """Look every few seconds."""
        self._watching.start(at_once=True)

    def stop(self) -> None:
        """Be ready no more: the server stops, and what it still finds is no trouble."""
        self.draining = self._stopped = True
        self._watching.stop()

    @property
    def known(self) -> list[str]:
        """The reasons as of the last look; empty if the server is ready."""
        found = {
            "database": self._lost_at is not None,
            "disk": bool(self._full),
            "draining": self.draining,
            "secret": self._void(),
        }
        return [reason for reason, holds in found.items() if holds]

    def show(self, metrics: Metrics) -> None:
        """Let the reasons be metrics."""
        for reason in REASONS:
            metrics.happy_not_ready.labels(reason).set_function(partial(self._holds, reason))

    def _holds(self, reason: str) -> float:
        return float(reason in self.known)

    async def reasons(self) -> list[str]:
        """The reasons as they are now, for all who ask at the same time; empty if the server is ready."""
        if self._looked_at is None or self._clock.seconds() - self._looked_at >= FRESH:
            await self._look()
        return self.known

    async def _watch(self) -> None:
        await self.reasons()

    async def _look(self) -> None:
        if self._looking is None:
            looking = self._looking = Deferred.fromCoroutine(self._ask())
            looking.addBoth(self._looked)
        if self._looking is not None:
            await relayed(self._looking)

    def _looked(self, _: object) -> None:
        self._looking = None
        self._looked_at = self._clock.seconds()

    async def _ask(self) -> None:
        asked = Deferred.fromCoroutine(self._ask_disk())
        await self._ask_database()
        await asked

    # -- the database ------------------------------------------------------------------------------

    async def _ask_database(self) -> None:
        try:
            await within(PATIENCE, Deferred.fromCoroutine(self._database.ping()), self._clock)
        except Exception as error:
            if self._lost_at is None and not self._stopped:
                self._lost_at = self._clock.seconds()
                cause = await self._cause(error)
                self._log.error("The database is lost: {cause}", event="database-lost", cause=cause)
            return
        if self._lost_at is not None:
            seconds, self._lost_at = self._clock.seconds() - self._lost_at, None
            text = "The database is back after {seconds:.0f} s"
            self._log.info(text, event="database-back", seconds=seconds)

    async def _cause(self, error: Exception) -> str:
        """Why there is no answer, which a connection of one's own finds out."""
        try:
            (await self._database.connector.open(PATIENCE)).close()
        except ConnectionLost as lost:
            return lost.reason or "connections break"
        except Exception as other:
            return describe_fault(other)
        if isinstance(error, TimeoutError | DatabaseDown):
            return f"it does not answer within {PATIENCE:.0f} s"
        return describe_fault(error)

    # -- the disk ----------------------------------------------------------------------------------

    async def _ask_disk(self) -> None:
        try:
            self.free = await within(PATIENCE, Deferred.fromCoroutine(self._measured()), self._clock)
        except Exception as error:
            self.free, self._unmeasured = None, _why_not(error)
        if self._stopped:
            return
        full = set()
        if self.free is None or self.free < (ROOM_AGAIN if "data folder" in self._full else LEAST_ROOM):
            full.add("data folder")
        refused_at = self._database.connector.full_at
        if refused_at is not None and self._clock.seconds() - refused_at < REFUSED_SECONDS:
            full.add("database")
        for place in sorted(full - self._full):
            known = place == "database" or self.free is not None
            text = f"The disk of the {{place}} {'is' if known else 'counts as'} full: {{room}}"
            self._log.error(text, event="disk-full", place=place, room=self._room(place))
        for place in sorted(self._full - full):
            self._log.info("The disk of the {place} has room again", event="disk-room", place=place)
        self._full = frozenset(full)

    async def _measured(self) -> int:
        return await self._free_bytes()

    def _room(self, place: str) -> str:
        if place == "database":
            return "PostgreSQL refuses to write"
        if self.free is None:
            return f"what is left cannot be measured ({self._unmeasured})"
        return f"{self.free // MIB} MiB are left"


def _why_not(error: Exception) -> str:
    """Why a file system does not tell how much room it has."""
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:.0f} s"
    return getattr(error, "strerror", None) or describe_fault(error)
