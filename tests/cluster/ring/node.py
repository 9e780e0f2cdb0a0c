"""A server whose bus is the Redis that RING_REDIS names: ``twistd`` for the ring."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.scripts.twistd import run

from happy.cluster.redis_bus import RedisBus
from happy.cluster.redis_url import parse_redis
from happy.cluster.wire import VERSION
from happy.service.composition import Running


def make_bus(dsn: str) -> RedisBus:
    """The way to the others."""
    target = parse_redis(os.environ["RING_REDIS"])
    return RedisBus(reactor, target, service="ring", version=VERSION, name=os.environ["RING_NODE"])


if __name__ == "__main__":
    defaults: dict[str, Any] = Running.__init__.__kwdefaults__  # type: ignore[assignment]
    defaults.update(make_bus=make_bus, node=os.environ["RING_NODE"])
    run()
