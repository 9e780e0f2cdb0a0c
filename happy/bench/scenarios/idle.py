"""Sockets that do nothing: what each costs in memory."""

from __future__ import annotations

from happy.bench.bench import Bench, nobody
from happy.bench.loop import now
from happy.bench.scenarios.crowd import Crowd, logins

SOCKETS = 10_000
_AT_ONCE = 100


class Idle:
    """``--sockets`` sockets over ``--accounts`` accounts, held for ``--seconds`` once all are there."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._crowd = Crowd(bench, _AT_ONCE, nobody)

    async def prepare(self) -> None:
        """Log in; the sockets are made while the server is watched."""
        load = self._bench.load
        sockets = load.sockets or SOCKETS
        accounts = load.accounts or max(1, sockets // 3)
        mine = self._bench.job.share(sockets)
        found = await self._bench.accounts.several(sorted({number % accounts for number in mine}))
        self._logins = logins(found, len(mine))

    async def run(self, begin: float) -> None:
        """Connect and hold."""
        await self._crowd.join(self._logins)
        self._bench.figures["sockets"] = len(self._crowd.links)
        self._bench.figures["connecting_seconds"] = now() - begin
        await self._bench.loop.sleep(self._bench.load.seconds)

    async def verify(self) -> None:
        """Lost sockets have been counted as errors."""
