"""A storm of clients that come back: connections with authentication."""

from __future__ import annotations

from happy.bench.bench import Bench, nobody
from happy.bench.loop import now
from happy.bench.scenarios.crowd import Crowd, logins

SOCKETS = 10_000
SENDERS = 256


class Connect:
    """``--sockets`` connections, ``--senders`` at a time, of ``--accounts`` accounts; all stay open."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        load = bench.load
        at_once = len(bench.job.share(load.senders or SENDERS)) or 1
        self._crowd = Crowd(bench, at_once, nobody)

    async def prepare(self) -> None:
        """Log in with an account for each socket, unless told otherwise."""
        load = self._bench.load
        sockets = load.sockets or SOCKETS
        accounts = load.accounts or sockets
        mine = self._bench.job.share(sockets)
        found = await self._bench.accounts.several(sorted({number % accounts for number in mine}))
        self._logins = logins(found, len(mine))

    async def run(self, begin: float) -> None:
        """Connect them all."""
        await self._crowd.join(self._logins)
        self._bench.figures["connecting_seconds"] = now() - begin
        self._bench.figures["sockets"] = len(self._crowd.links)

    async def verify(self) -> None:
        """Refused connections have been counted as errors."""
