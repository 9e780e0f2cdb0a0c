"""Being the only process of a service, or one of its nodes; and the database that they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from happy.cluster.cluster import Cluster
from happy.keys.tokens import fingerprint
from happy.service.holding import hold
from happy.service.identity import refuse_stranger
from happy.service.snapshots import saving_first
from happy.storage.database import Database
from happy.storage.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from happy.base.clocks import Now
    from happy.capabilities.server import Server
    from happy.cluster.bus import Bus
    from happy.keys.tokens import Keys
    from happy.metrics import Metrics
    from happy.realtime.broadcaster import Broadcaster
    from happy.realtime.hub import Hub
    from happy.service.lifecycle import Lifecycle
    from happy.settings.config import Config
    from happy.storage.migrate import Migration


class NodeMembership:
    """What a process is to its service. ``everywhere`` is what tells clients.

    Without ``bus`` it is the only one: then that is the ``hub`` itself, and there are no ``others``.
    """

    others: Cluster | None = None

    def __init__(
        self, hub: Hub, reactor: Any, now: Now, metrics: Metrics, bus: Bus | None, node: str
    ) -> None:
        self.everywhere: Broadcaster = hub
        if bus is not None:
            self.others = Cluster(bus, hub, reactor, metrics, name=node, now=now)
            self.everywhere = self.others.everywhere
        self._metrics = metrics
        self._reactor = reactor
        self._now = now

    async def start_database(
        self, config: Config, dsn: str, keys: Keys, lifecycle: Lifecycle, *, alone: bool
    ) -> Database:
        """Connect and migrate it; ``alone`` says that nobody may use it who knows nothing of this one.

        A stranger changes nothing: neither who may not use the database, nor who comes with another secret
        than that of the data. Raises StartupError.
        """
        database = Database(
            dsn,
            size=config.database_pool,
            clock=self._reactor,
            now=self._now,
            publisher=self.everywhere,
            noting=None if self.others is None else self.others.everywhere.note,
            metrics=self._metrics,
        )
        if alone:
            bus = None if self.others is None else self.others.bus
            await hold(config, database, self._reactor, dsn, bus, lifecycle)
        lifecycle.started("the database connections", database.stop, 1.0)
        saving = saving_first(config, self._reactor, dsn)

        async def before(newest: int, missing: Sequence[Migration]) -> None:
            if not config.accept_new_secret:
                await refuse_stranger(database, keys)
            if saving is not None:
                await saving(newest, missing)

        await migrate(database, before=before)
        await database.start()
        if self.others is not None:
            self.others.company.routed = config.node is not None
            lifecycle.started("the way to other nodes", self.others.stop, 1.0)
        return database

    async def join(self, server: Server) -> None:
        """Hear of other nodes, and let them hear of this one."""
        if self.others is not None:
            self.others.company.files = server.objects.name
            self.others.company.secret = fingerprint(server.tokens.public_key)
            server.presence.tell_stop = self.others.rosters.tell_stop
            counts = {"uploads": server.limits.uploads, "friends": server.limits.friends}
            await self.others.start(server.database, server.calls, server.presence, counts)

    def is_first(self, *, of_files: bool = False) -> bool:
        """See :meth:`happy.cluster.cluster.Cluster.is_first`."""
        return self.others is None or self.others.is_first(of_files=of_files)

    def serving(self, lifecycle: Lifecycle) -> None:
        """Clients come from now on; others hear when no more do."""
        if self.others is not None:
            lifecycle.started("being there for other nodes", self.others.drain, 0.1)
