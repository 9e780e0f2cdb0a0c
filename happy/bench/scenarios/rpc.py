"""Remote calls: round trips from callers through the server to targets and back."""

from __future__ import annotations

from happy.bench.accounts import Account, Scope, Unusable
from happy.bench.bench import Bench
from happy.bench.calls import Answering, Calling
from happy.bench.loop import gather, now

CALLERS = 8


class Target:
    """A machine that answers."""

    def __init__(self, bench: Bench, account: Account, number: int) -> None:
        self._machine = f"{bench.job.run}-{number}"
        self.account = account
        self.method = f"{self._machine}:bench"
        self._bench = bench
        self.link = bench.link(account, Scope.machine(self._machine), self._heard)
        self._answering = Answering(self.link, bench.text(bench.load.size))

    async def prepare(self) -> None:
        """Register the method. Raises Unusable."""
        await self.link.joined
        self._answering.register(self.method)
        if not await self._bench.until(lambda: self._answering.registered):
            raise Unusable("the server does not register methods")

    def _heard(self, packet: bytes) -> None:
        self._answering.heard(packet)


class Caller:
    """Calls again as soon as the answer is there; ``--batch`` calls at once."""

    def __init__(self, bench: Bench, target: Target) -> None:
        self._bench = bench
        self._link = bench.link(target.account, Scope.app(), self._heard, apart=target.link)
        self._calling = Calling(bench, self._link, target.method)
        self._end = 0.0

    async def prepare(self) -> None:
        """Be connected."""
        await self._link.joined

    def begin(self, end: float) -> None:
        """Make the first calls."""
        self._end = end
        for _ in range(self._bench.load.batch):
            self._calling.call(now())

    def _heard(self, packet: bytes) -> None:
        if self._calling.heard(packet) and (time := now()) < self._end:
            self._calling.call(time)

    @property
    def waiting(self) -> int:
        """Calls without an answer."""
        return self._calling.waiting


class Rpc:
    """``--senders`` callers, each calling one of ``--targets`` machines, over ``--accounts`` accounts."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._callers: list[Caller] = []

    async def prepare(self) -> None:
        """Connect targets, then callers."""
        load, job = self._bench.load, self._bench.job
        mine = job.share(load.senders or CALLERS)
        count = min(load.targets or len(mine), len(mine))
        accounts = min(load.accounts or count, count)
        # Each worker has targets of its own.
        numbers = [job.index + job.workers * number for number in range(count)]
        found = await self._bench.accounts.several(numbers[:accounts])
        targets = [Target(self._bench, found[place % accounts], one) for place, one in enumerate(numbers)]
        await gather((target.prepare() for target in targets), 8)
        self._callers = [Caller(self._bench, targets[place % count]) for place in range(len(mine))]
        await gather((caller.prepare() for caller in self._callers), 8)

    async def run(self, begin: float) -> None:
        """Call until the time is over."""
        end = begin + self._bench.load.seconds
        for caller in self._callers:
            caller.begin(end)
        await self._bench.loop.sleep(end - now())

    async def verify(self) -> None:
        """Every call must have been answered."""
        await self._bench.until(lambda: not any(caller.waiting for caller in self._callers))
        self._bench.verdict.lost += sum(caller.waiting for caller in self._callers)
