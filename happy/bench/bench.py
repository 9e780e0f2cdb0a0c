"""What a scenario works with inside a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Protocol

from happy.bench.accounts import Account, Accounts, Scope
from happy.bench.checks import Verdict
from happy.bench.http import Http
from happy.bench.links import Link
from happy.bench.load import Job, Load
from happy.bench.loop import Loop, Promise, now
from happy.bench.recorder import Recorder
from happy.bench.streams import Sources, Target


class Bench:
    """A worker's tools: connections, accounts, and where to write down what happened."""

    def __init__(
        self, loop: Loop, targets: Sequence[Target], job: Job, say: Callable[[dict[str, Any]], None]
    ) -> None:
        self.loop = loop
        self.job = job
        self.load: Load = job.load
        self.enough: Promise[bool] = Promise()
        """Is kept when the run is to end before its time; not every scenario can."""
        self.recorder = Recorder()
        self.verdict = Verdict()
        self.figures: dict[str, float] = {}
        # Workers take different addresses, so that a server's limits per address hold back none of them.
        self.sources = Sources(targets[0], job.addresses, first=job.index)
        self.target = targets[job.index % len(targets)]
        self._targets = targets
        self._next = cycle(targets)
        self._say = say
        self.http = Http(loop, self.target, self.sources)
        self.accounts = Accounts(self.http, job.run)

    def link(
        self,
        account: Account,
        scope: Scope,
        heard: Callable[[bytes], None],
        lost: Callable[[str], None] | None = None,
        apart: Link | None = None,
    ) -> Link:
        """Begin to connect a socket. One that is lost counts as an error, unless ``lost`` looks after it.

        Of several servers each is taken in turn, or another one than that of ``apart``.
        """
        target = next(self._next) if apart is None else self._another(apart.target)
        login = account.login(scope)
        return Link(self.loop, target, self.sources, login, heard, lost or self._lost)

    def _another(self, target: Target) -> Target:
        return self._targets[(self._targets.index(target) + 1) % len(self._targets)]

    def _lost(self, reason: str) -> None:
        self.recorder.error(f"socket lost: {reason}")

    def progress(self, what: str, done: int, of: int) -> None:
        """Tell how far the preparation is."""
        self._say({"progress": what, "done": done, "of": of})

    def text(self, size: int) -> str:
        """Random text of that length, like a sealed message: base64 does not need escapes."""
        return os.urandom(size // 2 + 1).hex()[:size]

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for something that is seen by looking, as long as late answers may take; whether it came."""
        end = now() + self.load.patience
        while not condition():
            if now() > end:
                return False
            await self.loop.sleep(0.02)
        return True


class Scenario(Protocol):
    """One kind of load. The phases of all workers begin together."""

    def __init__(self, bench: Bench) -> None: ...

    async def prepare(self) -> None:
        """Make what the load needs; not measured."""

    async def run(self, begin: float) -> None:
        """Apply the load from ``begin`` on, for the time it is to take."""

    async def verify(self) -> None:
        """Find out whether everything is as it must be; the findings go to ``bench.verdict``."""


def nobody(packet: bytes) -> None:
    """Hear without listening."""
