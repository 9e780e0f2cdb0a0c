"""One account with many sockets: how long until the last of them has an update."""

from __future__ import annotations

import msgspec

from happy.bench.accounts import Scope
from happy.bench.bench import Bench, nobody
from happy.bench.checks import Ledger, Rising
from happy.bench.frames import Template
from happy.bench.links import Link
from happy.bench.loop import gather, now
from happy.bench.updates import read_update

SOCKETS = 1000
_CONNECTING_AT_ONCE = 100
_WIDTH = 10


class Listener:
    """A socket that hears every update once."""

    __slots__ = ("_fanout", "ledger", "rising")

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self.ledger = Ledger()
        self.rising = Rising()

    def heard(self, packet: bytes) -> None:
        """Check an update and pass it on."""
        update = read_update(packet)
        if update is None:
            return
        self.rising.see(update.seq)
        message = update.body.message
        if message is not None and message.local_id:
            self.ledger.heard(int(message.local_id[-_WIDTH:]))
            self._fanout.delivered()


class Fanout:
    """A message of ``--size`` bytes to ``--sockets`` sockets, ``--batch`` at a time, over and over."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._listeners: list[Listener] = []
        self._sent = 0
        self._missing = 0
        self._begun = 0.0
        self._end = 0.0

    async def prepare(self) -> None:
        """Connect the listeners, and the socket that sends."""
        bench = self._bench
        sockets = bench.load.sockets or SOCKETS
        account = await bench.accounts.log_in(0)
        session = await bench.accounts.session(account, "fanout")
        self._listeners = [Listener(self) for _ in range(sockets)]

        async def join(listener: Listener) -> None:
            await bench.link(account, Scope.app(), listener.heard).joined

        await gather((join(one) for one in self._listeners), _CONNECTING_AT_ONCE)
        self._out = bench.link(account, Scope.session(session), nobody)
        await self._out.joined
        self._frame = _template(self._out, session, bench)

    async def run(self, begin: float) -> None:
        """Send the next as soon as all have the last."""
        self._end = begin + self._bench.load.seconds
        self._send()
        await self._bench.loop.sleep(self._end - now())

    def _send(self) -> None:
        batch = self._bench.load.batch
        self._missing = batch * len(self._listeners)
        numbers = range(self._sent + 1, self._sent + 1 + batch)
        self._sent += batch
        self._begun = now()
        self._out.write(b"".join([self._frame.fill(b"%010d" % number) for number in numbers]))

    def delivered(self) -> None:
        """One socket has one update."""
        self._missing -= 1
        if self._missing:
            return
        time = now()
        self._bench.recorder.note("fanout", time - self._begun)
        self._bench.recorder.count("deliveries", self._bench.load.batch * len(self._listeners))
        if time < self._end:
            self._send()

    async def verify(self) -> None:
        """Every listener must have heard every message."""
        await self._bench.until(lambda: not self._missing)
        for listener in self._listeners:
            listener.ledger.sent = self._sent
            verdict = listener.ledger.verdict()
            verdict.reordered += listener.rising.reordered
            self._bench.verdict.add(verdict)


def _template(link: Link, session: str, bench: Bench) -> Template:
    id_ = msgspec.json.encode(session)
    before = b'42["message",{"sid":%s,"localId":"%s-' % (id_, bench.job.run.encode())
    return link.template(before, _WIDTH, b'","message":"%s"}]' % bench.text(bench.load.size).encode())
