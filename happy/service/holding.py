"""Using a database that others could use as well: alone, or with those nodes that know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from happy.base.errors import DatabaseDown, StartupError
from happy.realtime.hub import Hub
from happy.service.joining import bus_of
from happy.storage.alone import Alone
from happy.storage.database import Database
from happy.storage.dsn import parse_target
from happy.storage.migrate import PATIENCE

if TYPE_CHECKING:
    from happy.metrics import Metrics
    from happy.service.lifecycle import Lifecycle
    from happy.settings.config import Config


async def hold(
    config: Config, database: Database, clock: Any, dsn: str, bus: str | None, lifecycle: Lifecycle
) -> None:
    """Let only servers use it that know of this one: nodes of one cluster whose ``bus`` is of the same kind.

    A database that is not there yet is waited for. A pooler's sessions belong to nobody, so behind one nobody
    can tell. Raises StartupError.
    """
    try:
        (await database.connect(PATIENCE)).close()
    except DatabaseDown as down:
        raise StartupError(f"DATABASE_URL: {down}") from None
    if not database.connector.pooled:
        known_by = None if bus is None else f"{bus} {config.cluster}"
        lock = Alone(database.connect, clock, parse_target(dsn).schema, known_by)
        await lock.start()
        lifecycle.started("holding the database", lock.stop, 0.1)


async def hold_for_workers(
    config: Config, dsn: str, reactor: Any, metrics: Metrics, lifecycle: Lifecycle
) -> None:
    """As :func:`hold`, once for all workers. Raises StartupError."""
    database = Database(dsn, size=1, clock=reactor, publisher=Hub(metrics))
    make_bus = bus_of(config, reactor, "")
    assert make_bus is not None
    await hold(config, database, reactor, dsn, type(make_bus(dsn)).__name__, lifecycle)
