"""How a server hears of others, as its settings say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from happy.cluster.postgres_bus import PostgresBus
from happy.cluster.wire import VERSION
from happy.settings.declaration import BadSetting

if TYPE_CHECKING:
    from happy.cluster.bus import Bus
    from happy.settings.config import Config

MakeBus = Callable[[str], "Bus"]
"""Makes a bus, given the database's DSN."""

Hasten = Callable[[Any], None]
"""Lets a transport write as soon as it can."""


def bus_of(
    config: Config,
    reactor: Any,
    name: str,
    hasten: Hasten = lambda transport: None,
    *,
    replaces: bool = False,
) -> MakeBus | None:
    """What makes the bus of a node called ``name``; None for a server that is alone.

    ``replaces`` tells that it takes the place of one that could use the bus.

    Raises BadSetting for a wrong redis-url.
    """
    match config.bus or _usual(config):
        case "redis":
            return _redis(config, reactor, name, hasten, replaces=replaces)
        case "postgres":
            return partial(PostgresBus, reactor, service=config.cluster, version=VERSION)
        case _:
            return None


def _usual(config: Config) -> str:
    if config.redis_url:
        return "redis"
    return "postgres" if config.workers > 1 else "none"


def _redis(config: Config, reactor: Any, name: str, hasten: Hasten, *, replaces: bool) -> MakeBus:
    # Here, since who has no Redis needs neither its library's memory nor its time to load.
    from happy.cluster.redis_bus import RedisBus
    from happy.cluster.redis_url import parse_redis

    assert config.redis_url is not None
    try:
        target = parse_redis(config.redis_url)
    except ValueError as wrong:
        raise BadSetting(f"redis-url: it must {wrong}") from None
    return lambda dsn: RedisBus(
        reactor,
        target,
        service=config.cluster,
        version=VERSION,
        name=name,
        hasten=hasten,
        dispensable=_is_left_over(config, target.host),
        replaces=replaces,
    )


def _is_left_over(config: Config, host: str) -> bool:
    """Whether a container of this name may never have been needed.

    A single server of before had an address of Redis among its settings and no use for it.
    """
    return not (config.bus or config.node or config.workers > 1 or "." in host)
