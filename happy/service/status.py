"""What an operator wants to see of a running server, as one record for all that show it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from twisted.internet.defer import Deferred

from happy import __version__
from happy.service.counted import Counted
from happy.storage.figures import Figures, figures

if TYPE_CHECKING:
    from happy.capabilities.server import Server
    from happy.metrics import Metrics
    from happy.service.readiness import Readiness

FRESH: Final = 5.0
"""Seconds for which counted numbers are good."""

FILES_FRESH: Final = 600.0
"""Seconds for which the sum of all files' sizes is good."""

STATEMENT_SECONDS: Final = 2.5
"""What counting may take in the database; what takes longer leaves the numbers as they were."""


class Sockets(Struct, frozen=True):
    """Connected sockets by scope."""

    user: int
    session: int
    machine: int


class Quotas(Struct, frozen=True, rename="camel"):
    """What an account may hold: numbers, and bytes of attachments. 0: any."""

    account_sockets: int = 0
    account_sessions: int = 0
    account_attachments: int = 0


class StatusReport(Struct, frozen=True, kw_only=True, rename="camel"):
    """Times in ms, sizes in bytes. None is what is not known, since the database or the disk does not tell.

    ``accounts`` are counted one by one; ``pairings`` are those that wait to be answered; ``nodes`` are all
    of the service, if it has several.
    """

    version: str
    listening: Sequence[str]
    uptime_ms: int
    ready: bool
    reasons: Sequence[str]
    sockets: Sockets
    accounts: int | None
    pairings: int | None
    database_bytes: int | None
    files_bytes: int | None
    free_bytes: int | None
    last_backup_at: int | None
    nodes: Sequence[Mapping[str, Any]]
    postgres: str | None
    messages_per_minute: float | None = None
    quotas: Quotas = Quotas()


class Status:
    """Reports on a server. What has to be counted is counted anew at most every few seconds, for all who ask.

    ``last_backup`` tells the time of the last backup in epoch milliseconds, ``nodes`` what nodes there are.
    ``messages`` may be set to what tells how many messages there are a minute.
    """

    messages: Callable[[], float | None] | None = None

    def __init__(
        self,
        server: Server,
        readiness: Readiness,
        last_backup: Callable[[], Awaitable[int | None]] | None = None,
        nodes: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self._server = server
        self._clock = server.clock
        self._readiness = readiness
        self._nodes = nodes
        self._began = self._clock.seconds()
        self._figures = Counted[Figures]("the database", self._count, FRESH, self._clock)
        self._backups = None
        if last_backup is not None:
            self._backups = Counted[int | None]("backups", last_backup, FRESH, self._clock)
        self._files = Counted[int | None]("files", server.objects.total, FILES_FRESH, self._clock)

    async def report(self) -> StatusReport:
        """Everything as it is now. Takes a few seconds at most, whatever does not answer."""
        counting = Deferred.fromCoroutine(self._figures.fresh())
        adding = Deferred.fromCoroutine(self._files.fresh())
        looking = Deferred.fromCoroutine(self._backed_up())
        reasons = await self._readiness.reasons()
        counted, files = await counting, await adding
        return StatusReport(
            version=__version__,
            listening=self._server.config.listen,
            uptime_ms=round((self._clock.seconds() - self._began) * 1000),
            ready=not reasons,
            reasons=reasons,
            sockets=sockets(self._server.metrics),
            accounts=None if counted is None else counted.accounts,
            pairings=None if counted is None else counted.pairings,
            database_bytes=None if counted is None else counted.database_bytes,
            files_bytes=files,
            free_bytes=self._readiness.free,
            last_backup_at=await looking,
            nodes=self._nodes(),
            postgres=None if counted is None else counted.postgres,
            messages_per_minute=None if self.messages is None else self.messages(),
            quotas=self._quotas(),
        )

    @property
    def database_bytes(self) -> int | None:
        """The size of the database when it was last counted."""
        return None if self._figures.latest is None else self._figures.latest.database_bytes

    async def count(self, patience: float) -> None:
        """Let the metrics have numbers that are a few seconds old at most, if that does not take longer."""
        await self._figures.fresh(patience)

    async def _count(self) -> Figures:
        counted = await self._server.database.read(figures, seconds=STATEMENT_SECONDS)
        self._server.metrics.database_records_total.labels("accounts").set(counted.accounts)
        return counted

    async def _backed_up(self) -> int | None:
        return None if self._backups is None else await self._backups.fresh()

    def _quotas(self) -> Quotas:
        config = self._server.config
        return Quotas(config.account_sockets, config.account_sessions, config.account_attachments)


def sockets(metrics: Metrics) -> Sockets:
    """Connected sockets by scope, as they are counted for Prometheus."""
    found = {"user-scoped": 0, "session-scoped": 0, "machine-scoped": 0}
    for family in metrics.websocket_connections_total.collect():
        for sample in family.samples:
            found[sample.labels["type"]] += int(sample.value)
    return Sockets(*found.values())
