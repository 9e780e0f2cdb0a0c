"""A running server: every part built, started and stopped in order.

Stopping is the exact reverse of starting: no new connections, requests in flight end, sockets close,
heartbeats and queued messages are stored, and only then the database goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from happy.api.rate_limits import Limits
from happy.base.bounds import Budget
from happy.base.errors import DatabaseDown, Overloaded, QueryFailed
from happy.base.pace import Pace
from happy.base.threads import Threads
from happy.capabilities import CAPABILITIES
from happy.capabilities.server import Server
from happy.keys.master_secret import settle
from happy.keys.tokens import Keys, Tokens
from happy.keys.vault import Vault
from happy.logs.auth_log import open_auth_log
from happy.logs.events import Events
from happy.metrics import Metrics
from happy.outbound.expo import Expo
from happy.outbound.github import GitHub
from happy.outbound.http import Outgoing
from happy.outbound.voice import VoiceProvider
from happy.postgres import EmbeddedPostgres
from happy.realtime.application import HappyApplication
from happy.realtime.calls import Calls
from happy.realtime.committer import Committer
from happy.realtime.hub import Hub
from happy.realtime.presence import Presence
from happy.realtime.recovery import Recovery
from happy.realtime.replay import ACCOUNT_BYTES
from happy.service import takeover
from happy.service.access import AccessRounds
from happy.service.allocator import Memory
from happy.service.connections import Connections
from happy.service.control import ControlSocket
from happy.service.debug_file import DebugFile
from happy.service.descriptors import most_clients, raise_limit
from happy.service.documents import Documents
from happy.service.eager import bound_accepting, make_eager
from happy.service.gauges import Gauges, free_bytes
from happy.service.greeting import addresses, greeting
from happy.service.history import History
from happy.service.housekeeping import Housekeeping
from happy.service.identity import recognise
from happy.service.instructions import Controlled, instructions, obey
from happy.service.joining import bus_of
from happy.service.lifecycle import STOP_SECONDS, Lifecycle
from happy.service.membership import NodeMembership
from happy.service.metrics_port import MetricsPort
from happy.service.monitoring import MonitoringResource
from happy.service.named_folders import check_data, check_webapp, hold_data
from happy.service.object_store import object_store
from happy.service.passing import Astray, Passing
from happy.service.ports import Ports
from happy.service.readiness import Readiness
from happy.service.socket_settings import origin, socket_settings
from happy.service.status import Status
from happy.service.watchers_site import WatchersSite
from happy.socketio.endpoint import SocketIOEndpoint
from happy.storage import backups, registration
from happy.storage.database import Database
from happy.storage.row_estimates import estimate_records
from happy.web.resource import Router
from happy.web.site import HappySite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from happy.base.clocks import Now
    from happy.cluster.bus import Bus
    from happy.cluster.cluster import Cluster
    from happy.realtime.broadcaster import Broadcaster
    from happy.service.place import WorkerPlace
    from happy.settings.config import Config


class Running:
    """One server from start to stop.

    ``server``, ``readiness``, ``status`` and ``ports`` (the listening ports) are there once it has
    started. The reactor must follow monotonic time, ``now`` tells the wall clock's.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        now: Now = time.time,
        metrics: Metrics | None = None,
        place: WorkerPlace | None = None,
        *,
        make_bus: Callable[[str], Bus] | None = None,
        node: str = "",
    ) -> None:
        """``place`` is what a worker has, one process of several.

        ``make_bus``, called with the database's DSN, makes it one of several nodes, called ``node``, whatever
        its settings say.
        """
        self._make_bus = make_bus
        self._node = node or "-".join([config.node or gethostname(), *([place.name] if place else [])])
        self._config = config
        self._reactor = reactor
        self._now = now
        self._place = place
        self._lifecycle = Lifecycle(reactor, STOP_SECONDS if place is None else place.stop_seconds)
        self._metrics = Metrics() if metrics is None else metrics
        self._pace = Pace(reactor)
        self._connections = Connections(reactor, self._pace, shortcuts=config.shortcuts)
        self._reopened: list[Callable[[], None]] = []
        self.server: Server
        self.readiness: Readiness
        self.status: Status
        self._ports = Ports(reactor, self._lifecycle, place)
        self.ports = self._ports.listening
        self._reopened.append(self._ports.reload)

    async def start(self) -> None:
        """Start everything; what was started is stopped again when a later part cannot be.

        Raises StartupError with a line for the operator, or CancelledError when it was stopped meanwhile.
        """
        seconds = await self._lifecycle.start(self._start())
        text = "Ready after {seconds:.2f} s: {greeting}"
        self.log.info(text, event="ready", seconds=seconds, greeting=await self._greeting())

    async def _greeting(self) -> str:
        listening = zip(self.server.config.listen, (port.getHost() for port in self.ports), strict=True)
        where = addresses(self.server.config, listening)
        default = self.server.config.registration
        report = await self.status.report()
        try:
            state = (await self.server.database.read(lambda tx: registration.current(tx, default))).state
        except (DatabaseDown, QueryFailed, Overloaded):  # which is no reason to end what serves already
            state = "unknown"
        return greeting(self.server.config, report, where, state)

    def reopen(self) -> None:
        """Open files again that somebody may have put in the place of others."""
        for reopen in self._reopened:
            reopen()

    async def stop(self) -> None:
        """Stop everything that was started, in the reverse order; a start under way ends."""
        await self._lifecycle.stop()

    async def _start(self) -> None:
        check_data(self._config)
        if self._place is None:
            self._lifecycle.started("the data folder", hold_data(self._config), 0.1)
        check_webapp(self._config)
        takeover.check(self._config)
        if self._config.debug_log:
            self._write_debug_file()
        config = settle(self._config)
        self._events = self._start_events()
        deriving = self._derive(config.master_secret)
        dsn = config.database_url or await self._start_postgres(config)
        hub = Hub(self._metrics, self._recovery(config), self._pace)
        replaces = self._place is not None and self._place.replaces
        make_bus = self._make_bus or bus_of(
            config, self._reactor, self._node, self._connections.hasten, replaces=replaces
        )
        bus = None if make_bus is None else make_bus(dsn)
        membership = NodeMembership(hub, self._reactor, self._now, self._metrics, bus, self._node)
        # The embedded database's folder has a lock of its own.
        alone = config.database_url is not None and self._place is None
        keys = await deriving
        database = await membership.start_database(config, dsn, keys, self._lifecycle, alone=alone)
        others = await recognise(database, keys, config.accept_new_secret)
        tokens = Tokens(keys, self._now, others)
        self._access = AccessRounds(database, tokens, hub, self._reactor, self._events)
        await self._access.start()
        self._lifecycle.started("access", self._access.stop, 0.2)
        everywhere = membership.everywhere
        self.server = await self._build(config, database, everywhere, tokens, Vault(keys.vault_master))
        await membership.join(self.server)
        memory = Memory(self._reactor, self._reactor.callInThread)
        memory.start()
        self._lifecycle.started("giving back memory", memory.stop, 0.1)
        housekeeping = Housekeeping(self.server, membership.is_first)
        housekeeping.start()
        self._lifecycle.started("housekeeping", housekeeping.stop, 0.1)
        await self._serve(self.server, hub, membership.others)
        membership.serving(self._lifecycle)

    def _derive(self, secret: str) -> Deferred[Keys]:
        """What a worker's parent has derived already, or else a thread does."""
        if self._place is not None and self._place.keys is not None:
            return succeed(self._place.keys)
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), Keys.derive, secret)

    def _start_events(self) -> Events:
        """What says what happens, here and, where that is asked for, in a file with addresses."""
        refusals = None
        if self._config.auth_log is not None:
            refusals = open_auth_log(self._config.auth_log, self._now, self._reactor.seconds)
            self._reopened.append(refusals.reopen)
            self._lifecycle.started("the log of refusals", refusals.stop, 0.1)
        events = Events(self._reactor, refusals)
        self._lifecycle.started("telling of events", events.tell, 0.1)
        return events

    def _recovery(self, config: Config) -> Recovery | None:
        """What clients come back to; they are sent less at once than a slow one is dropped for."""
        if not config.recovery:
            return None
        recovery = Recovery(self._reactor, min(ACCOUNT_BYTES, config.max_queued // 4))
        self._metrics.happy_replay_bytes.set_function(lambda: recovery.replay.size)
        return recovery

    async def _start_postgres(self, config: Config) -> str:
        postgres = EmbeddedPostgres(
            config.data_dir / "postgres",
            reactor=self._reactor,
            bin_dir=config.postgres_bin_dir,
            connections=config.database_pool,
            on_restart=self._metrics.happy_postgres_restarts_total.inc,
            on_silence=self._metrics.happy_postgres_silent_total.inc,
        )
        self._lifecycle.started("PostgreSQL", lambda: postgres.stop(self._lifecycle.left), 3.5)
        await postgres.start()
        return postgres.dsn

    async def _build(
        self, config: Config, database: Database, hub: Broadcaster, tokens: Tokens, vault: Vault
    ) -> Server:
        reactor, metrics = self._reactor, self._metrics
        committer = self._start_committer(database, hub)
        presence = Presence(reactor, database, hub, metrics, self._now)
        presence.start()
        self._lifecycle.started("presence", presence.stop, 1.0)
        files, pages = self._start_threads("files"), self._start_threads("pages")
        objects = object_store(config, reactor, self._now)
        await objects.start()
        self._lifecycle.started("file storage", objects.stop, 0.5)
        self.readiness = Readiness(reactor, database, self._free_bytes, lambda: tokens.void)
        self.readiness.show(metrics)
        return Server(
            config=config,
            readiness=self.readiness,
            documents=Documents([group for group in CAPABILITIES if group.enabled(config)], files.run),
            clock=reactor,
            now=self._now,
            limits=self._limits(config),
            memory=self._memory(config),
            pace=self._pace,
            metrics=metrics,
            events=self._events,
            database=database,
            tokens=tokens,
            vault=vault,
            hub=hub,
            committer=committer,
            presence=presence,
            calls=Calls(reactor, metrics, self._pace, self._now),
            objects=objects,
            files=files,
            pages=pages,
            expo=Expo(Outgoing("expo", reactor, metrics)),
            github=GitHub.from_config(config, reactor, metrics),
            voice=VoiceProvider.from_config(config, reactor, metrics, self._now),
        )

    def _start_committer(self, database: Database, hub: Broadcaster) -> Committer:
        committer = Committer(self._reactor, database, hub, self._metrics)
        committer.start()
        self._lifecycle.started("the message queue", committer.stop, 1.5)
        return committer

    def _start_threads(self, name: str) -> Threads:
        """Threads for files; one that a file system keeps is left behind."""
        threads = Threads(self._reactor, 8, name)
        threads.start()
        self._lifecycle.started(f"reading of {name}", threads.stop, 0.1)
        return threads

    def _limits(self, config: Config) -> Limits:
        now = self._reactor.seconds
        return Limits.per_minute(now, addresses=config.address_limit, logins=config.login_limit)

    def _memory(self, config: Config) -> Budget:
        """Half of what may be used is counted; the rest is for the copies that work on it makes."""
        refused = self._metrics.happy_memory_refused_total
        memory = Budget(config.memory // 2, refused=lambda why: refused.labels(why).inc())
        self._metrics.happy_memory_bytes.set_function(lambda: memory.used)
        return memory

    def _write_debug_file(self) -> None:
        file = DebugFile()
        file.start(datetime.fromtimestamp(self._now()), self._place.name if self._place else "")
        self._lifecycle.started("the debug log", file.stop, 0.1)

    async def _serve(self, server: Server, hub: Hub, others: Cluster | None) -> None:
        config = server.config
        events = [event for capability in CAPABILITIES for event in capability.events]
        hub.memory = server.memory
        realtime = HappyApplication(server, hub, server.calls, events, self._pace, others)
        self._lifecycle.started("machines that may return", realtime.stop, 0.1)
        self._lifecycle.started("calls", server.calls.stop, 0.1)
        settings = socket_settings(server, self._pace, **self._of_node(config))
        endpoint = SocketIOEndpoint(realtime, settings, self._reactor, origin)
        self._metrics.happy_sockets.set_function(lambda: endpoint.count)
        self._lifecycle.started("sockets", endpoint.stop, 1.0)
        if self._place is not None and self._place.draining:
            self.readiness.draining, endpoint.admitting = True, False
        room = most_clients(raise_limit())
        site = HappySite(
            Router(CAPABILITIES, server),
            endpoint,
            self._reactor,
            room=room,
            refused=self._metrics.happy_refused_connections_total.inc,
            fast_requests=config.shortcuts,
        )
        self._lifecycle.started("requests", site.stop, 1.0)
        nodes: Callable[[], Sequence[Mapping[str, Any]]] = tuple
        if others is not None:
            nodes, others.company.sockets = others.told, lambda: endpoint.count
            others.company.drained = lambda: self.readiness.draining
        self.status = Status(server, self.readiness, lambda: server.database.read(backups.last), nodes)
        await self._monitor(server)
        if self._place is not None:
            self._ports.own(self._place.requests, site, "requests of other workers")
        self._connections.watch(self._metrics, self._lifecycle)
        for description in config.listen:
            port = await self._ports.listen(description, site)
            make_eager(port, self._connections.accepted)
            bound_accepting(port, self._reactor.seconds)
        self.readiness.start()
        self._lifecycle.started("readiness", self.readiness.stop, 0.1)
        self._control(server, endpoint, others)

    def _control(self, server: Server, endpoint: SocketIOEndpoint, others: Cluster | None) -> None:
        """Do what the operator says, here or at another node."""
        orders = None if others is None else others.orders
        controlled = Controlled(
            server, self.status, self.readiness, endpoint, self._access, self._node, orders
        )
        if orders is not None:
            orders.obey = partial(obey, controlled)
        control = ControlSocket(self._control_folder(), instructions(controlled), self._reactor)
        control.start()
        self._lifecycle.started("the control socket", control.stop, 0.1)

    def _of_node(self, config: Config) -> dict[str, Any]:
        """What sessions here have that those of other nodes and workers have not."""
        place = self._place
        if place is None:
            prefix = f"{config.node}." if config.node else ""
            return {"sid_prefix": prefix, "elsewhere": Astray(self._metrics, prefix)}
        passing = Passing(self._reactor, place, Astray(self._metrics, place.sid_prefix))
        return {"sid_prefix": place.sid_prefix, "elsewhere": passing}

    def _control_folder(self) -> Path:
        return self._config.data_dir if self._place is None else self._place.folder

    async def _monitor(self, server: Server) -> None:
        gauges = Gauges(
            self._metrics, self._reactor, lambda: server.database.read(estimate_records), self._free_bytes
        )
        gauges.start()
        self._lifecycle.started("gauges", gauges.stop, 0.1)
        history = History(self._metrics, self._reactor, self._now, self.status)
        history.start(at_once=server.config.metrics_enabled)
        self._lifecycle.started("the last hour", history.stop, 0.1)
        self.status.messages = history.messages
        resource = MonitoringResource(
            self._metrics, self._now, self._reactor, self.readiness, self.status, history
        )
        site = WatchersSite(resource, reactor=self._reactor)
        if self._place is not None:
            self._ports.own(self._place.metrics, site, "metrics")
            return
        port = MetricsPort(server.config, self._reactor)
        await port.start(site)
        self._lifecycle.started("metrics", port.stop, 0.1)

    def _free_bytes(self) -> Deferred[int]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, free_bytes, self._config.data_dir)
