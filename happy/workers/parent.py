"""The parent of several workers: it owns what they share, and serves nobody itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from happy.base.private_folders import COMMON, make_folder
from happy.keys.master_secret import settle
from happy.keys.tokens import Keys
from happy.postgres import EmbeddedPostgres
from happy.postgres.orphans import FolderLock
from happy.service import takeover
from happy.service.control import ControlSocket
from happy.service.descriptors import raise_limit
from happy.service.holding import hold_for_workers
from happy.service.lifecycle import Lifecycle
from happy.service.metrics_port import MetricsPort
from happy.service.named_folders import check_data, hold_data
from happy.service.place import WorkerPlace
from happy.service.watchers_site import WatchersSite
from happy.workers.control import ControlledWorkers
from happy.workers.monitoring import WorkersResource
from happy.workers.pool import Spare, Worker, WorkerPool
from happy.workers.process import INHERITED, Spawning
from happy.workers.reserving import Reserved
from happy.workers.talk import Brief

if TYPE_CHECKING:
    from happy.metrics import Metrics
    from happy.settings.config import Config
    from happy.workers.talk import Logged

FOLDER: Final = "run"
"""The workers' own sockets, in the data folder."""

_LEAST_MEMORY: Final = 64 * 1024 * 1024
_BESIDES_THE_POOL: Final = 3
"""Connections to the database that a worker has besides its pool."""


class PassesOn(Protocol):
    """Who writes what workers log."""

    def pass_on(self, when: float, level: str, namespace: str, text: str) -> None:
        """Write a message of another process."""


class WorkersRunning:
    """A server of ``count`` workers from start to stop; ``written`` writes what they log."""

    log = Logger()

    def __init__(self, config: Config, reactor: Any, metrics: Metrics, count: int, written: PassesOn) -> None:
        self._config = config
        self._reactor = reactor
        self._metrics = metrics
        self._count = count
        self._written = written
        self._lifecycle = Lifecycle(reactor)
        self.pool: WorkerPool

    async def start(self) -> None:
        """Start everything; what was started is stopped again when a later part cannot be.

        Raises StartupError with a line for the operator, or CancelledError when it was stopped meanwhile.
        """
        seconds = await self._lifecycle.start(self._start())
        self.log.info("Ready after {seconds:.2f} s, with {count} workers", seconds=seconds, count=self._count)

    def _write(self, logged: Logged) -> None:
        self._written.pass_on(logged.when, logged.level, logged.namespace, logged.text)

    async def stop(self) -> None:
        """Stop everything that was started, in the reverse order; a start under way ends."""
        await self._lifecycle.stop()

    def reopen(self) -> None:
        """Let the workers open their files again."""
        for worker in self.pool.workers:
            worker.hang_up()

    async def _start(self) -> None:
        check_data(self._config)
        self._lifecycle.started("the data folder", hold_data(self._config), 0.1)
        takeover.check(self._config)
        config = settle(self._config)
        raise_limit()
        pool = self._reactor.getThreadPool()
        deriving = deferToThreadPool(self._reactor, pool, Keys.derive, config.master_secret)
        sockets = await self._reserve(config)
        if config.database_url:
            await hold_for_workers(config, config.database_url, self._reactor, self._metrics, self._lifecycle)
        else:
            config = replace(config, database_url=await self._start_postgres(config))
        await self._start_workers(self._shared_out(config), sockets, await deriving)

    def _shared_out(self, config: Config) -> Config:
        """What one of the workers may take."""
        return replace(config, memory=max(config.memory // self._count, _LEAST_MEMORY))

    async def _reserve(self, config: Config) -> dict[str, Reserved]:
        sockets = {}
        for description in config.listen:
            reserved = Reserved(self._reactor, self._count)
            await reserved.reserve(description)
            self._lifecycle.started(f"listening on {description}", reserved.release, 0.1)
            sockets[description] = reserved
        return sockets

    async def _start_postgres(self, config: Config) -> str:
        postgres = EmbeddedPostgres(
            config.data_dir / "postgres",
            reactor=self._reactor,
            bin_dir=config.postgres_bin_dir,
            connections=self._count * (config.database_pool + _BESIDES_THE_POOL),
            on_restart=self._metrics.happy_postgres_restarts_total.inc,
            on_silence=self._metrics.happy_postgres_silent_total.inc,
        )
        self._lifecycle.started("PostgreSQL", lambda: postgres.stop(self._lifecycle.left), 3.0)
        await postgres.start()
        return postgres.dsn

    async def _start_workers(self, config: Config, sockets: dict[str, Reserved], keys: Keys) -> None:
        folder = config.data_dir.absolute() / FOLDER
        make_folder(folder.parent, COMMON)
        lock = FolderLock(folder.with_name(f"{FOLDER}.lock"))
        lock.take()
        self._lifecycle.started("the folder of the workers' sockets", lock.release, 0.1)
        shutil.rmtree(folder, ignore_errors=True)
        every = [descriptor for one in sockets.values() for descriptor in one.descriptors]
        numbers = {descriptor: number for number, descriptor in enumerate(every, start=INHERITED)}
        spare = Spare(Spawning(self._reactor, every, self._write))
        places = [
            WorkerPlace(
                number,
                folder / f"w{number}",
                {name: numbers[one.descriptor(number)] for name, one in sockets.items()},
                f"{config.node}." if config.node else "",
                keys=keys,
            )
            for number in range(1, self._count + 1)
        ]
        replaced = self._metrics.happy_worker_restarts_total.inc
        workers = [Worker(self._reactor, Brief(config, place), spare, replaced) for place in places]
        self.pool = WorkerPool(self._reactor, workers, spare)
        self._lifecycle.started("workers", lambda: self.pool.stop(self._lifecycle.step_left), 5.8)
        await self.pool.start()
        names = [worker.name for worker in workers]
        port = MetricsPort(config, self._reactor)
        resource = WorkersResource(self._reactor, self._metrics, folder, names)
        await port.start(WatchersSite(resource, reactor=self._reactor))
        self._lifecycle.started("metrics", port.stop, 0.1)
        if port.port is not None:
            resource.start()
            self._lifecycle.started("the last hour", resource.stop, 0.1)
        together = ControlledWorkers(self._reactor, folder, names, self.pool.drained)
        control = ControlSocket(config.data_dir, together.instructions(), self._reactor)
        control.start()
        self._lifecycle.started("the control socket", control.stop, 0.1)
