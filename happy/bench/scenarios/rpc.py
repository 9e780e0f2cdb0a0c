"""Remote calls: round trips from callers through the server to targets and back."""

from __future__ import annotations

import msgspec

from happy.bench.accounts import Account, Scope
from happy.bench.bench import Bench
from happy.bench.frames import Template
from happy.bench.loop import gather, now

CALLERS = 8
_WIDTH = 10
_FIRST_ACK = 10 ** (_WIDTH - 1)
"""Ack ids of one length, so that calls can be masked in advance."""


class _Outcome(msgspec.Struct, gc=False):
    ok: bool
    result: str | None = None
    error: str | None = None


class _Outcomes(msgspec.Struct, gc=False, array_like=True):
    first: _Outcome


_decode = msgspec.json.Decoder(_Outcomes).decode
_REQUEST = b'["rpc-request"'
_PARAMS = b'"params":"'


class Target:
    """A machine that answers each call with text of the same size, beginning with the call's number."""

    def __init__(self, bench: Bench, account: Account, number: int) -> None:
        self._machine = f"{bench.job.run}-{number}"
        self.method = f"{self._machine}:bench"
        self._tail = b'%s"]' % bench.text(max(0, bench.load.size - _WIDTH)).encode()
        self._frames: dict[int, Template] = {}
        self._registered = False
        self._bench = bench
        self._link = bench.link(account, Scope.machine(self._machine), self._heard)

    async def prepare(self) -> None:
        """Register the method."""
        await self._link.joined
        self._link.emit("rpc-register", {"method": self.method})
        await self._bench.until(lambda: self._registered)

    def _heard(self, packet: bytes) -> None:
        start = packet.find(b"[")
        if packet.startswith(_REQUEST, start):
            position = packet.find(_PARAMS, start) + len(_PARAMS)
            self._answer(packet[2:start], packet[position : position + _WIDTH])
        elif packet.startswith(b'42["rpc-registered"'):
            self._registered = True

    def _answer(self, ack: bytes, number: bytes) -> None:
        part = b'43%s["%s' % (ack, number)
        frame = self._frames.get(len(part))
        if frame is None:
            frame = self._frames[len(part)] = self._link.template(b"", len(part), self._tail)
        self._link.write(frame.fill(part))


class Caller:
    """Calls again as soon as the answer is there; ``--batch`` calls at once."""

    def __init__(self, bench: Bench, account: Account, method: str) -> None:
        self._bench = bench
        self._method = method
        self._link = bench.link(account, Scope.app(), self._heard)
        self._begun: dict[int, float] = {}
        self._next = _FIRST_ACK
        self._end = 0.0

    async def prepare(self) -> None:
        """Compose the call but for its number, which is its ack id as well."""
        await self._link.joined
        method = msgspec.json.encode(self._method)
        filler = self._bench.text(max(0, self._bench.load.size - _WIDTH)).encode()
        middle = b'["rpc-call",{"method":%s,"params":"' % method
        self._middle = middle
        self._frame = self._link.template(b"42", 2 * _WIDTH + len(middle), filler + b'"}]')

    def begin(self, end: float) -> None:
        """Make the first calls."""
        self._end = end
        for _ in range(self._bench.load.batch):
            self._call()

    def _call(self) -> None:
        number, self._next = self._next, self._next + 1
        digits = b"%d" % number
        self._begun[number] = now()
        self._link.write(self._frame.fill(digits + self._middle + digits))

    def _heard(self, packet: bytes) -> None:
        if not packet.startswith(b"43"):
            return
        number = int(packet[2 : 2 + _WIDTH])
        begun = self._begun.pop(number, None)
        if begun is None:
            self._bench.verdict.duplicated += 1
            return
        time = now()
        self._judge(_decode(packet[2 + _WIDTH :]).first, number, time - begun)
        if time < self._end:
            self._call()

    def _judge(self, outcome: _Outcome, number: int, seconds: float) -> None:
        if not outcome.ok:
            self._bench.recorder.error(f"call failed: {outcome.error}")
        elif outcome.result is None or not outcome.result.startswith(str(number)):
            self._bench.recorder.error("call got another call's answer")
        else:
            self._bench.recorder.note("calls", seconds)

    @property
    def outstanding(self) -> int:
        """Calls without an answer."""
        return len(self._begun)


class Rpc:
    """``--senders`` callers, each calling one of ``--targets`` targets, over ``--accounts`` accounts."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._callers: list[Caller] = []

    async def prepare(self) -> None:
        """Connect targets, then callers."""
        load = self._bench.load
        callers = load.senders or CALLERS
        mine = list(self._bench.job.share(callers))
        targets = min(load.targets or callers, callers)
        accounts = min(load.accounts or targets, targets)
        found = {}
        for number in sorted({one % targets for one in mine}):
            account = await self._bench.accounts.log_in(number % accounts)
            # Each worker has targets of its own, or calls would cross between workers.
            target = Target(self._bench, account, number * self._bench.job.workers + self._bench.job.index)
            await target.prepare()
            found[number] = account, target.method
        self._callers = [Caller(self._bench, *found[number % targets]) for number in mine]
        await gather((caller.prepare() for caller in self._callers), len(mine) or 1)

    async def run(self, begin: float) -> None:
        """Call until the time is over."""
        end = begin + self._bench.load.seconds
        for caller in self._callers:
            caller.begin(end)
        await self._bench.loop.sleep(end - now())

    async def verify(self) -> None:
        """Every call must have been answered."""
        await self._bench.until(lambda: not any(caller.outstanding for caller in self._callers))
        self._bench.verdict.lost += sum(caller.outstanding for caller in self._callers)
